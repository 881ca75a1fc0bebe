//! System tests: real processes, real disks, real sockets. Each file states the
//! promises that it keeps; fault ids (F01 …) are those of docs/faults.md.

mod backfill;
mod clocks;
mod common;
mod damage;
mod disk;
mod examples;
mod kills;
mod mail;
mod protocol;
mod quickstart;
mod red_light;
mod restarts;
mod safety;
