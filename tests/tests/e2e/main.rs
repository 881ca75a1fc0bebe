//! System tests: real processes, real disks, real sockets. Each file states the
//! promises that it keeps; fault ids (F01 …) are those of docs/faults.md.

mod backfill;
mod canary;
mod clocks;
mod common;
mod damage;
mod disk;
mod doors;
mod examples;
mod identity;
mod kills;
mod mail;
mod namespaces;
mod nobody_gets_in;
mod oracle;
mod prometheus;
mod protocol;
mod quickstart;
mod record;
mod red_light;
mod restarts;
mod safety;
mod sockets;
