//! Listeners, on an address and on a Unix socket.

use socket2::{Domain, Protocol, Socket, Type};
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use tokio::net::{TcpListener, UnixListener, UnixStream};

/// Listens on an address; `backlog` connections wait in the kernel until they are taken.
///
/// # Errors
/// What the system says.
pub(crate) fn tcp(address: SocketAddr, backlog: i32) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(backlog)?;
    TcpListener::from_std(socket.into())
}

/// Listens on a Unix socket, in the place of one that nobody serves any more. The mode
/// says who can open it; whom it serves, the peer's user id decides in any case.
///
/// # Errors
/// What the system says; [`io::ErrorKind::AddrInUse`] when another process serves it.
pub(crate) fn local(path: &Path, mode: u32) -> io::Result<UnixListener> {
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process serves it")),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path)?,
        // Not there, or not to be opened: bind says which.
        Err(_) => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    Ok(listener)
}

/// The next connection of a Unix socket; never where there is no listener.
///
/// # Errors
/// What the system says.
pub(crate) async fn accept_local(listener: Option<&UnixListener>) -> io::Result<UnixStream> {
    match listener {
        Some(listener) => Ok(listener.accept().await?.0),
        None => pending().await,
    }
}
