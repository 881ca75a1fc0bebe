//! Where a request comes from, as the listener knows it: nothing that a request
//! says about itself can change it.

use signalbox_access::address::host_name;
use std::fmt;
use std::net::IpAddr;

/// The other end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// Over TCP.
    Tcp {
        /// Its address.
        ip: IpAddr,
        /// Inside TLS.
        is_tls: bool,
    },
    /// Over the Unix socket: the kernel says which account.
    Local {
        /// User id of the process.
        uid: u32,
        /// Name of the account; `uid=1000` where there is none.
        user: String,
    },
}

impl Peer {
    /// True inside TLS: cookies may be `Secure`, HSTS makes sense.
    pub(crate) fn is_tls(&self) -> bool {
        matches!(self, Peer::Tcp { is_tls: true, .. })
    }

    /// What failures are counted by.
    pub(crate) fn throttle_key(&self) -> String {
        match self {
            Peer::Tcp { ip, .. } => host_name(*ip),
            other @ Peer::Local { .. } => other.to_string(),
        }
    }
}

/// `192.0.2.7` or `unix:uid=0`, as it stands in the audit.
impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Tcp { ip, .. } => write!(f, "{}", ip.to_canonical()),
            Peer::Local { uid, .. } => write!(f, "unix:uid={uid}"),
        }
    }
}

/// Where the accounts of this host are.
pub(crate) const ACCOUNTS: &str = "/etc/passwd";

/// The account of this user id, from lines of `name:password:uid:…`.
pub(crate) fn account(uid: u32, accounts: &str) -> String {
    let wanted = uid.to_string();
    let name = accounts.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == wanted).then_some(name)
    });
    name.filter(|name| !name.is_empty()).map_or_else(|| format!("uid={uid}"), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_id_has_its_first_account_or_is_told_as_a_number() {
        let accounts = "root:x:0:0::/root:/bin/sh\ntoor:x:0:0::/root:/bin/sh\n:x:7:7::/:\nada:x:1000:1000::/:\n";
        assert_eq!(account(0, accounts), "root");
        assert_eq!(account(1000, accounts), "ada");
        assert_eq!(account(7, accounts), "uid=7");
        assert_eq!(account(100, accounts), "uid=100");
    }

    #[test]
    fn failures_of_one_ipv6_network_are_counted_together() {
        let key = |ip: &str| Peer::Tcp { ip: ip.parse().unwrap(), is_tls: true }.throttle_key();
        assert_eq!(key("2001:db8:1:2::1"), key("2001:db8:1:2:ffff::9"));
        assert_ne!(key("2001:db8:1:2::1"), key("2001:db8:1:3::1"));
        assert_eq!(key("::ffff:192.0.2.7"), "192.0.2.7");
        assert_eq!(key("192.0.2.7"), "192.0.2.7");
    }
}
