//! The kernel's word that a network device has changed.
//!
//! Whenever the state of a device changes, the kernel tells those who listen on a
//! netlink socket. Silence there spares the reads of what has not changed: one call in
//! place of one for each device. What the messages say is not looked at, and that some
//! were lost is news too.

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};
use std::os::fd::OwnedFd;
use std::path::Path;

/// `RTMGRP_LINK` of `linux/rtnetlink.h`.
const LINKS: u32 = 1;

/// See the module's page.
#[derive(Debug)]
pub(crate) struct News {
    /// None where nobody tells: everything may have changed, always.
    socket: Option<OwnedFd>,
}

impl News {
    /// Of this host's devices; a `root` that is not `/` may be another's. A sandbox may
    /// forbid the socket, which costs the reads and nothing else.
    pub(crate) fn listen(root: &Path) -> News {
        News { socket: if root == Path::new("/") { subscribe().ok() } else { None } }
    }

    /// True when something may have changed since the last call.
    pub(crate) fn take(&mut self) -> bool {
        let Some(socket) = &self.socket else { return true };
        let mut is_news = false;
        loop {
            // The rest of a message is dropped with its first bytes.
            match recv(socket, &mut [0u8; 16], RecvFlags::DONTWAIT) {
                Ok(_) => is_news = true,
                Err(Errno::AGAIN) => return is_news,
                Err(Errno::INTR) => {}
                // There were more than the queue holds; it goes on from here.
                Err(Errno::NOBUFS) => is_news = true,
                Err(_) => {
                    self.socket = None;
                    return true;
                }
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn of(socket: OwnedFd) -> News {
        News { socket: Some(socket) }
    }
}

fn subscribe() -> rustix::io::Result<OwnedFd> {
    // Of the netlink protocols none is NETLINK_ROUTE.
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    bind(&socket, &SocketAddrNetlink::new(0, LINKS))?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixDatagram;

    #[test]
    fn messages_of_any_size_are_news_once() {
        let (kernel, own) = UnixDatagram::pair().unwrap();
        let mut news = News::of(own.into());
        assert!(!news.take());
        kernel.send(&[1; 1000]).unwrap();
        kernel.send(&[2; 4]).unwrap();
        assert!(news.take());
        assert!(!news.take());
    }

    #[test]
    fn where_nobody_tells_everything_is_news() {
        let mut news = News::listen(Path::new("/nowhere"));
        assert!(news.take() && news.take());
    }

    #[test]
    fn this_kernel_lets_us_listen() {
        let mut news = News { socket: Some(subscribe().unwrap()) };
        news.take();
        assert!(news.socket.is_some(), "an empty queue is no failure");
    }
}
