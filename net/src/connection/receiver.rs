//! Bytes received, cut into frames.
//!
//! A header is checked whole, against limits and credit, before memory for its body is taken: what a hostile peer can make us
//! keep is what it was granted. A receiver belongs to whoever reads the transport, and asks the connection twice a frame, so
//! that a connection that others use as well need not be locked while bytes arrive and are checked.

use deltalite_alloc::{BufferPool, PoolBuffer};

use super::{Connection, Phase};
use crate::error::{ErrorKind, Result, RpcError};
use crate::frame::{BodyCrc, Header};
use crate::limits::{HEADER_BYTES, LANDING_BYTES_MIN};
use crate::time::Time;

/// Who is asked whether a frame may come, and given it.
pub trait Accept {
    /// Whether the frame may come; then where its body shall lie.
    ///
    /// # Errors
    /// Where it may not, which ends the connection.
    fn check(&mut self, header: &Header) -> Result<BufferPool>;
    /// A frame as it was sent.
    fn accept(&mut self, header: Header, body: Option<PoolBuffer>);
    /// What was received is against the protocol.
    fn reject(&mut self, error: RpcError);
    /// Whether anything more is wanted.
    fn is_closed(&self) -> bool;
}

/// A connection at a point in time.
impl Accept for (&mut Connection, Time) {
    fn check(&mut self, header: &Header) -> Result<BufferPool> {
        self.0.check_header(header)?;
        self.0.await_body(header.body_bytes(), self.1);
        Ok(self.0.config.pool.clone())
    }

    fn accept(&mut self, header: Header, body: Option<PoolBuffer>) {
        if self.0.phase != Phase::Closed
            && let Err(error) = self.0.act(header, body, self.1)
        {
            self.0.fail(&error, true);
        }
    }

    fn reject(&mut self, error: RpcError) {
        self.0.fail(&error, true);
    }

    fn is_closed(&self) -> bool {
        self.0.phase == Phase::Closed
    }
}

/// How far the frame is that is being received.
#[derive(Debug)]
enum Parse {
    Header { bytes: [u8; HEADER_BYTES], have: usize },
    Body { header: Header, body: PoolBuffer, have: usize, crc: BodyCrc },
}

/// Cuts what is received into frames.
#[derive(Debug)]
pub struct Receiver {
    parse: Parse,
}

impl Default for Receiver {
    fn default() -> Self {
        Self { parse: Parse::Header { bytes: [0; HEADER_BYTES], have: 0 } }
    }
}

impl Receiver {
    /// Takes what was received. What is against the protocol ends the connection.
    pub fn receive(&mut self, mut bytes: &[u8], to: &mut impl Accept) {
        while !bytes.is_empty() && !to.is_closed() {
            match &mut self.parse {
                Parse::Header { bytes: header, have } => {
                    let n = (HEADER_BYTES - *have).min(bytes.len());
                    header[*have..*have + n].copy_from_slice(&bytes[..n]);
                    *have += n;
                    bytes = &bytes[n..];
                    if *have == HEADER_BYTES
                        && let Err(error) = self.header_done(to)
                    {
                        to.reject(error);
                    }
                }
                Parse::Body { body, have, .. } => {
                    let n = (body.len() - *have).min(bytes.len());
                    body.as_mut_slice()[*have..*have + n].copy_from_slice(&bytes[..n]);
                    bytes = &bytes[n..];
                    self.landed(n, to);
                }
            }
        }
    }

    /// Where the next bytes received should lie, while a large body is on its way.
    pub fn landing(&mut self) -> Option<&mut [u8]> {
        match &mut self.parse {
            Parse::Body { body, have, .. } if body.len() - *have >= LANDING_BYTES_MIN => {
                Some(&mut body.as_mut_slice()[*have..])
            }
            _ => None,
        }
    }

    /// So many bytes were received into [`Self::landing`].
    pub fn landed(&mut self, bytes: usize, to: &mut impl Accept) {
        let Parse::Body { header, body, have, crc } = &mut self.parse else { return };
        // While it is still near.
        if header.is_checked() {
            crc.update(&body.as_slice()[*have..*have + bytes]);
        }
        *have += bytes;
        if *have == body.len()
            && let Parse::Body { header, body, crc, .. } = std::mem::take(self).parse
        {
            match header.check_body(crc.finish()) {
                Ok(()) => to.accept(header, Some(body)),
                Err(error) => to.reject(error),
            }
        }
    }

    fn header_done(&mut self, to: &mut impl Accept) -> Result<()> {
        let Parse::Header { bytes, .. } = std::mem::take(self).parse else { return Ok(()) };
        let header = Header::parse(&bytes)?;
        let pool = to.check(&header)?;
        match header.body_bytes() as usize {
            0 => {
                header.check_body(0)?;
                to.accept(header, None);
            }
            bytes => {
                let body = pool.take(bytes).map_err(|error| {
                    RpcError::new(ErrorKind::Overloaded, format!("no memory for a frame of {bytes} bytes"))
                        .caused_by(error)
                })?;
                self.parse = Parse::Body { header, body, have: 0, crc: BodyCrc::default() };
            }
        }
        Ok(())
    }
}
