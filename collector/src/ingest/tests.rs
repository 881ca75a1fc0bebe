//! Connections, enrolment and streams over real sockets.
