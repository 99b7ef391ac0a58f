//! TLS by rustls, over any socket: the same on every runtime.

use std::fmt;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, Connection, ServerConfig, ServerConnection};

use super::Socket;

/// Ciphertext received at once, in bytes: a few records.
const RECORDS_BYTES: usize = 64 << 10;

/// How a client speaks TLS, and to whom.
#[derive(Clone)]
pub struct TlsClient {
    /// Whom to trust, and what to prove oneself with.
    pub config: Arc<ClientConfig>,
    /// The name that the server's certificate must have.
    pub name: ServerName<'static>,
}

impl fmt::Debug for TlsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsClient").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A socket within TLS.
pub struct Tls<S> {
    socket: S,
    session: Connection,
    /// Ciphertext that was received, and how much of it the session took.
    received: Vec<u8>,
    taken: usize,
    ended: bool,
    /// Whether nothing more is to be sent; the socket is closed when what was to be sent has left.
    closing: bool,
    closed: bool,
}

impl<S: Socket> Tls<S> {
    /// A client's end.
    ///
    /// # Errors
    /// Where the session can't begin.
    pub fn client(socket: S, tls: &TlsClient) -> io::Result<Self> {
        let session =
            ClientConnection::new(Arc::clone(&tls.config), tls.name.clone()).map_err(io::Error::other)?;
        Ok(Self::over(socket, session.into()))
    }

    /// A server's end.
    ///
    /// # Errors
    /// Where the session can't begin.
    pub fn server(socket: S, config: &Arc<ServerConfig>) -> io::Result<Self> {
        let session = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
        Ok(Self::over(socket, session.into()))
    }

    fn over(socket: S, mut session: Connection) -> Self {
        session.set_buffer_limit(Some(RECORDS_BYTES * 4));
        Self { socket, session, received: Vec::new(), taken: 0, ended: false, closing: false, closed: false }
    }

    /// Sends ciphertext that waits.
    fn poll_records(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        struct Out<'a, 'b, S>(&'a mut S, &'a mut Context<'b>);

        impl<S: Socket> Write for Out<'_, '_, S> {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.write_vectored(&[IoSlice::new(bytes)])
            }

            fn write_vectored(&mut self, from: &[IoSlice<'_>]) -> io::Result<usize> {
                match self.0.poll_write(self.1, from) {
                    Poll::Ready(done) => done,
                    Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
                }
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }

        while self.session.wants_write() {
            match self.session.write_tls(&mut Out(&mut self.socket, cx)) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        if self.closing && !self.closed {
            self.closed = true;
            self.socket.close();
        }
        Poll::Ready(Ok(()))
    }

    /// Gives the session what was received, until there is something to read; what is no TLS is an error, after an alert that
    /// says so.
    fn take_in(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        while self.taken < self.received.len() {
            let n = self.session.read_tls(&mut &self.received[self.taken..])?;
            self.taken += n;
            match self.session.process_new_packets() {
                Ok(state) => {
                    if state.peer_has_closed() {
                        // The session takes no more: what a peer sends after its end is nobody's.
                        self.ended = true;
                        self.taken = self.received.len();
                    }
                    if state.plaintext_bytes_to_read() > 0 || n == 0 {
                        break;
                    }
                }
                Err(error) => {
                    // The alert leaves if it can; the error is what counts.
                    let _ = self.poll_records(cx);
                    return Err(io::Error::new(io::ErrorKind::InvalidData, format!("TLS: {error}")));
                }
            }
        }
        if self.taken == self.received.len() {
            (self.received, self.taken) = (Vec::new(), 0);
        }
        Ok(())
    }
}

impl<S: Socket> Socket for Tls<S> {
    fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut [IoSliceMut<'_>]) -> Poll<io::Result<usize>> {
        loop {
            let mut n = 0;
            for buffer in into.iter_mut() {
                match self.session.reader().read(buffer) {
                    Ok(0) => break,
                    Ok(more) => n += more,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) if n == 0 => return Poll::Ready(Err(error)),
                    Err(_) => break,
                }
            }
            if n > 0 || self.ended {
                return Poll::Ready(Ok(n));
            }
            if self.received.is_empty() {
                let mut records = vec![0; RECORDS_BYTES];
                match self.socket.poll_read(cx, &mut [IoSliceMut::new(&mut records)]) {
                    Poll::Pending => {
                        // A handshake goes on by what is sent, too.
                        return match self.poll_records(cx) {
                            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                            _ => Poll::Pending,
                        };
                    }
                    Poll::Ready(Ok(0)) => self.ended = true,
                    Poll::Ready(Ok(n)) => {
                        records.truncate(n);
                        self.received = records;
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                }
            }
            self.take_in(cx)?;
            if let Poll::Ready(Err(error)) = self.poll_records(cx) {
                return Poll::Ready(Err(error));
            }
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, from: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Err(error)) = self.poll_records(cx) {
            return Poll::Ready(Err(error));
        }
        let n = self.session.writer().write_vectored(from)?;
        if n == 0 {
            // The session's buffer is full: it empties when the socket takes more.
            return Poll::Pending;
        }
        if let Poll::Ready(Err(error)) = self.poll_records(cx) {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(n))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_records(cx)
    }

    fn keeps_bytes(&self) -> bool {
        true
    }

    fn close(&mut self) {
        self.session.send_close_notify();
        self.closing = true;
        let mut cx = Context::from_waker(std::task::Waker::noop());
        // As far as the socket takes it at once; a flush sends the rest.
        let _ = self.poll_records(&mut cx);
    }

    fn certificate(&self) -> Option<Vec<u8>> {
        self.session.peer_certificates().and_then(|chain| chain.first()).map(|leaf| leaf.as_ref().to_vec())
    }
}
