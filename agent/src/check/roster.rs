//! Who is there, in the order in which a file names them: disks, network devices.
//!
//! Rates need the reading before, per device, while devices come and go. The
//! steady state is a comparison of each name with the one expected at its place.

/// Devices told by one check; hosts with more make them by the thousand for
/// containers, and their series would be over the limit of an agent.
pub(crate) const DEVICES_MAX: usize = 256;
/// How many devices or mounts a check left out for its limit; there when not 0.
pub(crate) const LEFT_OUT: &str = "signalbox_check_left_out";

/// Devices with what is remembered of each.
#[derive(Debug)]
pub(crate) struct Roster<T> {
    entries: Vec<Entry<T>>,
    next: usize,
    changed: bool,
}

/// One device.
#[derive(Debug)]
pub(crate) struct Entry<T> {
    /// As the file spells it.
    pub(crate) name: Vec<u8>,
    /// What is remembered.
    pub(crate) memory: T,
}

impl<T> Entry<T> {
    /// The name as a label value.
    pub(crate) fn label(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.name)
    }
}

impl<T> Roster<T> {
    /// Nobody yet.
    pub(crate) fn new() -> Roster<T> {
        Roster { entries: Vec::new(), next: 0, changed: false }
    }

    /// Before the first name of a reading.
    pub(crate) fn begin(&mut self) {
        self.next = 0;
        self.changed = false;
    }

    /// The next name of this reading; `make` gives the memory of one that is new.
    pub(crate) fn meet(&mut self, name: &[u8], make: impl FnOnce() -> T) -> &mut T {
        let at = self.next;
        self.next += 1;
        if self.entries.get(at).is_none_or(|entry| entry.name != name) {
            self.changed = true;
            let later = self.entries.iter().skip(at).position(|entry| entry.name == name);
            let entry = match later {
                Some(offset) => self.entries.remove(at + offset),
                None => Entry { name: name.to_vec(), memory: make() },
            };
            self.entries.insert(at, entry);
        }
        &mut self.entries[at].memory
    }

    /// After the last name: forgets who was not met. True when the set or its order changed.
    pub(crate) fn end(&mut self) -> bool {
        self.changed |= self.next < self.entries.len();
        self.entries.truncate(self.next);
        self.changed
    }

    /// All, in the file's order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Entry<T>> {
        self.entries.iter()
    }

    /// All, in the file's order.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Entry<T>> {
        self.entries.iter_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(roster: &mut Roster<u32>, names: &[&str]) -> (bool, Vec<u32>) {
        roster.begin();
        for name in names {
            *roster.meet(name.as_bytes(), || 0) += 1;
        }
        (roster.end(), roster.iter().map(|entry| entry.memory).collect())
    }

    #[test]
    fn memory_follows_the_name_however_devices_come_and_go() {
        let mut roster = Roster::new();
        assert_eq!(read(&mut roster, &["lo", "eth0"]), (true, vec![1, 1]));
        assert_eq!(read(&mut roster, &["lo", "eth0"]), (false, vec![2, 2]));
        assert_eq!(read(&mut roster, &["lo", "veth1", "eth0"]), (true, vec![3, 1, 3]));
        assert_eq!(read(&mut roster, &["eth0", "lo"]), (true, vec![4, 4]), "order and set changed");
        assert_eq!(read(&mut roster, &["eth0"]), (true, vec![5]));
        assert_eq!(read(&mut roster, &[]), (true, vec![]));
        assert_eq!(read(&mut roster, &[]), (false, vec![]));
    }
}
