//! Tests of [`super`]: against a tree, and against real processes.

use super::*;
use crate::check::testing::{Tree, at, sample};
use rustix::event::{PollFd, PollFlags, poll};
use std::process::{Command, Stdio};

fn stat(pid: u32, comm: &str, state: &str, cpu_ticks: u64, start: u64) -> String {
    format!("{pid} ({comm}) {state} 1 1 1 0 -1 0 0 0 0 0 {cpu_ticks} 0 0 0 20 0 2 0 {start} 0 10\n")
}

fn tree() -> Tree {
    Tree::new(&[("proc/uptime", "100.50 190.00\n"), ("proc/10/stat", &stat(10, "shop", "S", 50, 9000))])
}

fn watch(tree: &Tree) -> ProcessWatch {
    let spec =
        ProcessSpec { name: "shop".to_owned(), pattern: Pattern::Name("shop".to_owned()), scan_every: SCAN_EVERY };
    ProcessWatch::with_table(tree.root(), spec, Arc::new(ProcessTable::new(tree.root())))
}

fn value(watch: &mut ProcessWatch, now: u64, name: &str) -> Option<f64> {
    let series = sample(watch, at(now)).unwrap();
    series.get(&format!(r#"signalbox_process_{name}{{watch="shop"}}"#)).copied()
}

#[test]
fn an_instance_tells_what_it_uses() {
    let tree = tree();
    let mut watch = watch(&tree);
    let series = sample(&mut watch, at(1000)).unwrap();
    let told = |name: &str| series.get(&format!(r#"signalbox_process_{name}{{watch="shop"}}"#)).copied();
    assert_eq!(told("up"), Some(1.0));
    assert_eq!(told("cpu_seconds_total"), Some(0.5));
    assert_eq!(told("threads"), Some(2.0));
    assert_eq!(told("resident_bytes"), Some(10.0 * rustix::param::page_size() as f64));
    assert_eq!(told("age_seconds"), Some(10.5));
    assert_eq!(told("restarts_total"), Some(0.0));
    assert_eq!(told("open_fds"), None, "a folder that cannot be read tells nothing, not 0");
    assert_eq!(told("cpu_ratio"), None, "a share needs two samples");
    tree.write("proc/10/stat", &stat(10, "shop", "S", 75, 9000));
    assert_eq!(value(&mut watch, 2000, "cpu_ratio"), Some(0.25));
    assert_eq!(value(&mut watch, 2100, "cpu_ratio"), Some(0.25), "too soon for a new share");
}

#[test]
fn with_no_instance_only_up_and_restarts_are_told() {
    let tree = Tree::new(&[("proc/uptime", "1.00 1.00\n"), ("proc/11/stat", &stat(11, "other", "S", 0, 1))]);
    let series = sample(&mut watch(&tree), at(0)).unwrap();
    assert_eq!(series.into_values().collect::<Vec<_>>(), [0.0, 0.0]);
}

#[test]
fn a_death_shows_at_the_next_sample_and_a_replacement_is_a_restart() {
    let tree = tree();
    let mut watch = watch(&tree);
    sample(&mut watch, at(0)).unwrap();
    tree.write("proc/10/stat", &stat(10, "shop", "Z", 50, 9000));
    assert_eq!(value(&mut watch, 1000, "up"), Some(0.0), "a zombie is not up");
    tree.write("proc/12/stat", &stat(12, "shop", "S", 1, 10_000));
    let series = sample(&mut watch, at(2000)).unwrap();
    assert_eq!(series[r#"signalbox_process_up{watch="shop"}"#], 1.0, "searched for at every sample after a death");
    assert_eq!(series[r#"signalbox_process_restarts_total{watch="shop"}"#], 1.0);
    assert_eq!(series[r#"signalbox_process_cpu_seconds_total{watch="shop"}"#], 0.51, "the total never falls");
}

#[test]
fn deaths_in_a_row_are_told_without_a_look_for_each() {
    let tree = tree();
    let mut watch = watch(&tree);
    sample(&mut watch, at(0)).unwrap();
    tree.write("proc/10/stat", &stat(10, "shop", "Z", 50, 9000));
    tree.write("proc/12/stat", &stat(12, "shop", "S", 1, 10_000));
    assert_eq!(value(&mut watch, 499, "up"), Some(0.0), "the death is told, the look must wait");
    assert_eq!(value(&mut watch, 500, "up"), Some(1.0));
}

#[test]
fn the_same_pid_with_another_start_is_another_process() {
    let tree = tree();
    let mut watch = watch(&tree);
    sample(&mut watch, at(0)).unwrap();
    tree.write("proc/10/stat", &stat(10, "shop", "S", 1, 9999));
    let series = sample(&mut watch, at(1000)).unwrap();
    assert_eq!(series[r#"signalbox_process_up{watch="shop"}"#], 1.0);
    assert_eq!(series[r#"signalbox_process_restarts_total{watch="shop"}"#], 1.0);
}

#[test]
fn more_instances_are_found_at_the_next_look_and_are_no_restarts() {
    let tree = tree();
    let mut watch = watch(&tree);
    sample(&mut watch, at(0)).unwrap();
    tree.write("proc/13/stat", &stat(13, "shop", "R", 1, 9500));
    assert_eq!(value(&mut watch, 4_999, "up"), Some(1.0));
    assert_eq!(value(&mut watch, 5_000, "up"), Some(2.0));
    assert_eq!(value(&mut watch, 5_001, "restarts_total"), Some(0.0));
    assert_eq!(value(&mut watch, 5_001, "age_seconds"), Some(5.5), "the youngest");
}

#[test]
fn one_that_became_another_program_is_gone() {
    let tree = tree();
    let mut watch = watch(&tree);
    sample(&mut watch, at(0)).unwrap();
    tree.write("proc/10/stat", &stat(10, "bash", "S", 50, 9000));
    assert_eq!(value(&mut watch, 5_000, "up"), Some(0.0));
}

#[test]
fn a_pid_that_was_given_out_again_is_not_the_process_of_the_old_file() {
    let tree = tree();
    tree.write("run/shop.pid", "10\n");
    let file = std::fs::metadata(tree.root().join("run/shop.pid")).unwrap();
    let written = file.modified().unwrap().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    // Process 10 began 90 s after the boot.
    let booted = |before_secs: u64| tree.write("proc/stat", &format!("cpu 1\nbtime {}\n", written - before_secs));
    let pattern = Pattern::PidFile("/run/shop.pid".into());
    let spec = || ProcessSpec { name: "shop".to_owned(), pattern: pattern.clone(), scan_every: SCAN_EVERY };
    let watch = || ProcessWatch::with_table(tree.root(), spec(), Arc::new(ProcessTable::new(tree.root())));
    booted(100);
    let mut known = watch();
    assert_eq!(value(&mut known, 0, "up"), Some(1.0));
    booted(31);
    assert_eq!(value(&mut watch(), 0, "up"), Some(1.0), "59 s after the file: the clock may have been set");
    booted(28);
    assert_eq!(value(&mut watch(), 0, "up"), Some(0.0), "62 s after the file: another program");
    assert_eq!(value(&mut known, 5000, "up"), Some(1.0), "a clock that was set makes no stranger of one that is known");
    tree.write("proc/10/stat", &stat(10, "shop", "S", 50, 9500));
    assert_eq!(value(&mut known, 10_000, "up"), Some(0.0), "the known one ended, the next one has its pid");
}

#[test]
fn instances_over_the_limit_are_counted_and_not_read() {
    let tree = tree();
    for pid in 1000..1000 + INSTANCES_MAX as u32 {
        tree.write(&format!("proc/{pid}/stat"), &stat(pid, "shop", "S", 0, 9000));
    }
    let mut watch = watch(&tree);
    let series = sample(&mut watch, at(0)).unwrap();
    assert_eq!(series[r#"signalbox_process_up{watch="shop"}"#], INSTANCES_MAX as f64 + 1.0);
    assert_eq!(series[r#"signalbox_process_threads{watch="shop"}"#], 2.0 * INSTANCES_MAX as f64);
}

#[test]
fn the_death_of_a_real_process_wakes_and_is_told_at_once() {
    let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let pid_file = folder.path().join("pid");
    std::fs::write(&pid_file, child.id().to_string()).unwrap();
    let pattern = Pattern::PidFile(pid_file);
    let mut watch = ProcessWatch::new(ProcessSpec { name: "shop".to_owned(), pattern, scan_every: SCAN_EVERY });
    let series = sample(&mut watch, at(0)).unwrap();
    assert_eq!(series[r#"signalbox_process_up{watch="shop"}"#], 1.0);
    assert!(series[r#"signalbox_process_open_fds{watch="shop"}"#] >= 3.0);
    // Killed and not reaped: the pidfd wakes, and the zombie is not up.
    child.kill().unwrap();
    let mut fds = Vec::new();
    watch.wake_fds(&mut fds);
    assert_eq!(fds.len(), 1);
    assert_eq!(poll(&mut [PollFd::new(&fds[0], PollFlags::IN)], None).unwrap(), 1);
    let series = sample(&mut watch, at(10)).unwrap();
    assert_eq!(series[r#"signalbox_process_up{watch="shop"}"#], 0.0);
    let mut fds = Vec::new();
    watch.wake_fds(&mut fds);
    assert!(fds.is_empty(), "what was told wakes no more");
    child.wait().unwrap();
}
