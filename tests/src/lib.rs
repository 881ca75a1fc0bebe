//! System tests with real processes, the oracle that judges them, and the load
//! generator that speaks the agents' protocol.
