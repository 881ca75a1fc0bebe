//! The limits of a run, set on the helper itself and so on all that it starts.
//!
//! ```text
//! no_new_privs        a set-uid program inside of the script gains nothing
//! capabilities        none with which a script of root could become somebody else
//! child subreaper     what the script leaves behind becomes ours, to be killed
//! address space, processor time, open files, no core file, tasks of its user
//! first to be killed when the host has no memory left
//! ```

use super::super::order::{Order, OrderAccount};
use super::secret::Variable;
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Resource, Rlimit, getpid, setrlimit};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

/// Open files of each process.
const OPEN_FILES_MAX: u64 = 1024;

/// Limits this process. There is no way back.
///
/// # Errors
/// The kernel, or a sandbox around us, refuses.
pub(super) fn enter(order: &Order) -> io::Result<()> {
    rustix::thread::set_no_new_privs(true)?;
    if order.account.is_none_or(|account| account.uid == 0) {
        give_up_users()?;
    }
    rustix::process::set_child_subreaper(Some(getpid()))?;
    limit(Resource::Core, 0)?;
    limit(Resource::Nofile, OPEN_FILES_MAX)?;
    // The helper's own use is some milliseconds and some megabytes.
    limit(Resource::Cpu, order.cpu_secs)?;
    let uid = order.account.map_or_else(|| rustix::process::geteuid().as_raw(), |account| account.uid);
    // The kernel counts the tasks of a user, wherever they were started, and never
    // root's. The watch counts the script's own.
    if uid != 0 {
        limit(Resource::Nproc, n_tasks(uid) + u64::from(order.n_processes))?;
    }
    limit(Resource::As, order.memory_bytes)?;
    // A file system of /proc that we may not write leaves the order of killing to the kernel.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    Ok(())
}

/// A script that has no user of its own runs as the agent. If that is root, it can
/// become other users for the scripts that have one; this one can not, whatever it
/// executes, as there are no new privileges either.
fn give_up_users() -> io::Result<()> {
    let mut sets = capabilities(None)?;
    let given_up = CapabilitySet::SETUID | CapabilitySet::SETGID | CapabilitySet::KILL;
    if !sets.permitted.intersects(given_up) {
        return Ok(());
    }
    sets.inheritable.remove(given_up);
    sets.effective.remove(given_up);
    sets.permitted.remove(given_up);
    Ok(set_capabilities(None, sets)?)
}

fn limit(resource: Resource, most: u64) -> io::Result<()> {
    // The soft limit of processor time ends with SIGXCPU, which tells why; a script
    // that ignores it is killed a second later.
    let hard = if matches!(resource, Resource::Cpu) { most + 1 } else { most };
    // Never more than there is: raising needs rights that we have not.
    let there = rustix::process::getrlimit(resource).maximum.unwrap_or(u64::MAX);
    Ok(setrlimit(resource, Rlimit { current: Some(most.min(there)), maximum: Some(hard.min(there)) })?)
}

/// Tasks that a user has now.
fn n_tasks(uid: u32) -> u64 {
    let Ok(entries) = std::fs::read_dir("/proc") else { return 0 };
    let n_of = |entry: std::fs::DirEntry| {
        let is_process = entry.file_name().to_string_lossy().bytes().all(|byte| byte.is_ascii_digit());
        let own = is_process && entry.metadata().is_ok_and(|metadata| metadata.uid() == uid);
        if own { std::fs::read_dir(entry.path().join("task")).map_or(1, Iterator::count) } else { 0 }
    };
    entries.flatten().map(n_of).sum::<usize>() as u64
}

/// Starts the program behind the descriptor: no path is looked up again.
///
/// # Errors
/// Of the kernel.
pub(super) fn start(order: &Order, executable: File, environment: &[Variable]) -> io::Result<Child> {
    // The interpreter of a script opens it by this descriptor, so it stays open there.
    fcntl_setfd(&executable, FdFlags::empty())?;
    let mut command = Command::new(format!("/proc/self/fd/{}", executable.as_raw_fd()));
    command
        .arg0(&order.command[0])
        .args(&order.command[1..])
        .env_clear()
        .envs(environment.iter().map(|variable| (&variable.name, &variable.value)))
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    if let Some(OrderAccount { uid, gid }) = order.account
        && uid != rustix::process::geteuid().as_raw()
    {
        // As root, this also leaves all further groups.
        command.gid(gid).uid(uid);
    }
    command.spawn()
}
