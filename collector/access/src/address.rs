//! Whose an address is: what caps, throttles and limits count by.

use core::net::{IpAddr, Ipv6Addr};

/// The host behind an address: one with IPv6 has a whole /64 to call from. Loopback
/// stays itself.
pub fn host_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(ip) if !ip.is_loopback() => Ipv6Addr::from(u128::from(ip) >> 64 << 64).into(),
        other => other,
    }
}

/// [`host_of`] as text: `192.0.2.7`, `2001:db8:1:2::/64`.
pub fn host_name(address: IpAddr) -> String {
    match host_of(address) {
        IpAddr::V6(network) => format!("{network}/64"),
        IpAddr::V4(ip) => ip.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_its_address_or_its_ipv6_network() {
        for (address, host) in [
            ("192.0.2.7", "192.0.2.7"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("127.0.0.1", "127.0.0.1"),
            ("::1", "::1/64"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ] {
            assert_eq!(host_name(address.parse().unwrap()), host);
        }
    }
}
