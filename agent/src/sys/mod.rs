//! System calls that no safe library wraps. The only place for `unsafe`.

pub(crate) mod adjtimex;

/// The kernel's boot id; empty where the kernel has none.
pub(crate) fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}
