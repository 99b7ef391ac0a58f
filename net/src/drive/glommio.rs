//! On glommio: a shard serves its connections on its own core.
//!
//! glommio's streams read and write one buffer at a time. Here each read and write is one system call over several buffers;
//! only where it would block does glommio's ring wait for the socket.

use std::future::Future;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use ::glommio::net::{TcpListener, TcpStream};
use ::glommio::timer::Timer as GlommioSleep;
use futures::io::{AsyncRead, AsyncWrite};

use super::{Socket, Timer};
use crate::time::Time;

/// A TCP connection.
pub struct Tcp(TcpStream);

impl Tcp {
    /// Over a stream that is connected. Small frames are not held back.
    ///
    /// # Errors
    /// The operating system's.
    pub fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true).map_err(io::Error::from)?;
        Ok(Self(stream))
    }

    fn socket(&self) -> BorrowedFd<'_> {
        // SAFETY: the stream owns the descriptor, and outlives the borrow.
        unsafe { BorrowedFd::borrow_raw(self.0.as_raw_fd()) }
    }
}

impl Socket for Tcp {
    fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut [IoSliceMut<'_>]) -> Poll<io::Result<usize>> {
        let mut header = libc::msghdr { msg_iov: into.as_mut_ptr().cast(), ..empty_message() };
        header.msg_iovlen = into.len();
        // SAFETY: `IoSliceMut` is an iovec by contract; the buffers are borrowed for the call, which does not wait.
        let n = unsafe { libc::recvmsg(self.socket().as_raw_fd(), &raw mut header, libc::MSG_DONTWAIT) };
        if n >= 0 {
            return Poll::Ready(Ok(n as usize));
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::WouldBlock {
            return Poll::Ready(Err(error));
        }
        let Some(first) = into.first_mut() else { return Poll::Ready(Ok(0)) };
        Pin::new(&mut self.0).poll_read(cx, first)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, from: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let header = libc::msghdr {
            msg_iov: from.as_ptr().cast_mut().cast(),
            msg_iovlen: from.len(),
            ..empty_message()
        };
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        // SAFETY: `IoSlice` is an iovec by contract, only read by the kernel, during the call.
        let n = unsafe { libc::sendmsg(self.socket().as_raw_fd(), &raw const header, flags) };
        if n >= 0 {
            return Poll::Ready(Ok(n as usize));
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::WouldBlock {
            return Poll::Ready(Err(error));
        }
        let Some(first) = from.iter().find(|slice| !slice.is_empty()) else { return Poll::Ready(Ok(0)) };
        Pin::new(&mut self.0).poll_write(cx, first)
    }

    fn keeps_bytes(&self) -> bool {
        let (here, there) = (self.0.local_addr(), self.0.peer_addr());
        here.is_ok_and(|a| a.ip().is_loopback()) && there.is_ok_and(|a| a.ip().is_loopback())
    }

    fn close(&mut self) {
        // One that the peer has closed already is as good.
        let _ = socket2::SockRef::from(&self.socket()).shutdown(Shutdown::Write);
    }
}

fn empty_message() -> libc::msghdr {
    // SAFETY: all zeros is a message header without address, buffers or control data.
    unsafe { std::mem::zeroed() }
}

/// glommio's timer.
#[derive(Default)]
pub struct GlommioTimer {
    sleep: Option<(Time, Pin<Box<GlommioSleep>>)>,
}

impl Timer for GlommioTimer {
    fn poll_until(&mut self, cx: &mut Context<'_>, now: Time, at: Time) -> Poll<()> {
        loop {
            if now >= at {
                return Poll::Ready(());
            }
            if self.sleep.as_ref().is_none_or(|(set, _)| *set > at) {
                let wait = at.since(now).min(Duration::from_hours(24));
                self.sleep = Some((at, Box::pin(GlommioSleep::new(wait))));
            }
            let Some((set, sleep)) = &mut self.sleep else { return Poll::Pending };
            let set = *set;
            ready!(sleep.as_mut().poll(cx));
            self.sleep = None;
            if set >= at {
                return Poll::Ready(());
            }
        }
    }
}

/// Accepts one connection: its socket and address.
///
/// # Errors
/// The operating system's.
pub async fn accept(listener: &TcpListener) -> io::Result<(Tcp, SocketAddr)> {
    let stream = listener.accept().await.map_err(io::Error::from)?;
    let address = stream.peer_addr().map_err(io::Error::from)?;
    Ok((Tcp::new(stream)?, address))
}
