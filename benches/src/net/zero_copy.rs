//! Frames sent without a copy into the kernel, beside the same frames sent as drivers do: a header and a page by one `sendmsg`.
//!
//! Over loopback the kernel copies anyway when a frame is received into the other socket's queue, and zero copy has to pin pages and to tell
//! when they are free. Whether it pays is a question of the way between; what it costs here bounds what it could win.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::time::Instant;

use io_uring::{IoUring, cqueue, opcode, types};

use super::wire::beside;
use super::{row, system};
use crate::cpu::process_time;
use crate::error::Result;
use crate::report::Row;

/// Bytes of a stream.
const STREAM_BYTES: usize = 1 << 30;
/// Bytes of payload of the frames.
const FRAMES: [usize; 3] = [64 << 10, 512 << 10, 4 << 20];
const HEADER_BYTES: usize = 64;

/// How frames are given to the kernel.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// Copied.
    Plain,
    /// Pinned, by a flag of `sendmsg`.
    Flag,
    /// Pinned, by io_uring.
    Ring,
}

/// A frame as drivers send it: its pieces, and the message that points at them.
struct Frame {
    pieces: [libc::iovec; 2],
    message: libc::msghdr,
}

impl Frame {
    /// The bytes of a frame from `from` on.
    #[allow(clippy::unnecessary_box_returns, reason = "the message points into it, so it must not move")]
    fn of(header: &[u8], payload: &[u8], from: usize) -> Box<Self> {
        let piece = |bytes: &[u8], from: usize| libc::iovec {
            iov_base: bytes[from.min(bytes.len())..].as_ptr().cast_mut().cast(),
            iov_len: bytes.len().saturating_sub(from),
        };
        let pieces = [piece(header, from), piece(payload, from.saturating_sub(header.len()))];
        // SAFETY: all zeros is a message header without address, buffers or control data.
        let mut this = Box::new(Self { pieces, message: unsafe { std::mem::zeroed() } });
        this.message.msg_iov = this.pieces.as_mut_ptr();
        this.message.msg_iovlen = this.pieces.len();
        this
    }

    fn send(&self, socket: RawFd, flags: libc::c_int) -> io::Result<usize> {
        // SAFETY: the message points at pieces of memory that are borrowed for longer than this call, and for zero copy than the
        // stream: the caller keeps the page until every frame is acknowledged.
        let n = unsafe { libc::sendmsg(socket, &raw const self.message, flags | libc::MSG_NOSIGNAL) };
        usize::try_from(n).map_err(|_| io::Error::last_os_error())
    }
}

/// Sends as many frames as make a stream.
fn send(socket: &TcpStream, way: Way, payload: &[u8]) -> io::Result<()> {
    let header = [1u8; HEADER_BYTES];
    let frames = STREAM_BYTES / payload.len();
    let whole = HEADER_BYTES + payload.len();
    match way {
        Way::Plain => {
            for _ in 0..frames {
                let mut sent = 0;
                while sent < whole {
                    sent += Frame::of(&header, payload, sent).send(socket.as_raw_fd(), 0)?;
                }
            }
            Ok(())
        }
        Way::Flag => by_flag(socket, &header, payload, frames),
        Way::Ring => by_ring(socket, &header, payload, frames),
    }
}

fn by_flag(socket: &TcpStream, header: &[u8], payload: &[u8], frames: usize) -> io::Result<()> {
    let fd = socket.as_raw_fd();
    let on: libc::c_int = 1;
    // SAFETY: the descriptor is the socket's, and the value is an integer that lives here.
    let set = unsafe {
        libc::setsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_ZEROCOPY,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if set != 0 {
        return Err(io::Error::last_os_error());
    }
    let whole = header.len() + payload.len();
    let (mut calls, mut done) = (0u64, 0u64);
    for _ in 0..frames {
        let mut sent = 0;
        while sent < whole {
            match Frame::of(header, payload, sent).send(fd, libc::MSG_ZEROCOPY) {
                Ok(n) => {
                    sent += n;
                    calls += 1;
                }
                // Too much is pinned: some of it has to be let go first.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => done += let_go(fd, true)?,
                Err(error) => return Err(error),
            }
        }
        done += let_go(fd, false)?;
    }
    while done < calls {
        done += let_go(fd, true)?;
    }
    Ok(())
}

/// How many calls the kernel says it is done with; waits for the first where it has to.
fn let_go(socket: RawFd, wait: bool) -> io::Result<u64> {
    let mut done = 0;
    loop {
        let mut control = [0u64; 16];
        // SAFETY: all zeros is a message header without address, buffers or control data.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of_val(&control);
        // SAFETY: the message points at control data that lives here; the call does not wait.
        let n = unsafe { libc::recvmsg(socket, &raw mut message, libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT) };
        if n < 0 {
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::WouldBlock {
                return Err(error);
            }
            if done > 0 || !wait {
                return Ok(done);
            }
            let mut poll = libc::pollfd { fd: socket, events: 0, revents: 0 };
            // SAFETY: one descriptor is polled, which is the socket's.
            if unsafe { libc::poll(&raw mut poll, 1, 1000) } < 0 {
                return Err(io::Error::last_os_error());
            }
            continue;
        }
        // SAFETY: the message is one that the kernel has filled in.
        let first = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
        if first.is_null() {
            continue;
        }
        // SAFETY: the control data of this queue is an extended error, whose numbers are the first and the last call that is done.
        let error = unsafe { libc::CMSG_DATA(first).cast::<libc::sock_extended_err>().read_unaligned() };
        done += u64::from(error.ee_data.wrapping_sub(error.ee_info)) + 1;
    }
}

fn by_ring(socket: &TcpStream, header: &[u8], payload: &[u8], frames: usize) -> io::Result<()> {
    let mut ring = IoUring::new(64)?;
    let whole = header.len() + payload.len();
    let mut pinned = 0u64;
    for _ in 0..frames {
        let mut sent = 0;
        while sent < whole {
            let frame = Frame::of(header, payload, sent);
            let send = opcode::SendMsgZc::new(types::Fd(socket.as_raw_fd()), &raw const frame.message)
                .flags(libc::MSG_WAITALL as u32)
                .build();
            // SAFETY: the message lives until the send is done, which is waited for; what it points at for longer than the ring.
            unsafe { ring.submission().push(&send) }.map_err(io::Error::other)?;
            loop {
                ring.submit_and_wait(1)?;
                let mut answer = None;
                for entry in ring.completion() {
                    if cqueue::notif(entry.flags()) {
                        pinned -= 1;
                    } else {
                        pinned += u64::from(cqueue::more(entry.flags()));
                        answer = Some(entry.result());
                    }
                }
                if let Some(answer) = answer {
                    sent += usize::try_from(answer).map_err(|_| io::Error::from_raw_os_error(-answer))?;
                    break;
                }
            }
        }
    }
    while pinned > 0 {
        ring.submit_and_wait(1)?;
        pinned -= ring.completion().filter(|entry| cqueue::notif(entry.flags())).count() as u64;
    }
    Ok(())
}

/// One stream over loopback; its seconds and the processor's.
fn stream(way: Way, frame: usize) -> Result<(f64, f64)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(system("listening"))?;
    let address = listener.local_addr().map_err(system("listening"))?;
    let sender = std::thread::spawn(move || -> io::Result<()> {
        let (mut socket, _) = listener.accept()?;
        socket.set_nodelay(true)?;
        let payload = vec![7u8; frame];
        // The one byte says that the clock runs; the other that all was received and may be let go.
        socket.read_exact(&mut [0])?;
        send(&socket, way, &payload)?;
        socket.read_exact(&mut [0])
    });
    let mut socket = TcpStream::connect(address).map_err(system("connecting"))?;
    socket.set_nodelay(true).map_err(system("connecting"))?;
    let mut buffers = vec![vec![0u8; HEADER_BYTES + frame]; 4];
    let (began, cpu) = (Instant::now(), process_time());
    socket.write_all(&[1]).map_err(system("sending"))?;
    for i in 0..STREAM_BYTES / frame {
        socket.read_exact(&mut buffers[i % 4]).map_err(system("receiving"))?;
    }
    let took = (began.elapsed().as_secs_f64(), process_time().saturating_sub(cpu).as_secs_f64());
    socket.write_all(&[1]).map_err(system("sending"))?;
    sender.join().unwrap_or(Ok(())).map_err(system("sending"))?;
    Ok(took)
}

/// Frames of some sizes, both ways of zero copy.
pub(super) fn frames(rounds: usize) -> Result<Vec<Row>> {
    let gigabytes = STREAM_BYTES as f64 / 1e9;
    let mut rows = Vec::new();
    for frame in FRAMES {
        for (way, name) in [(Way::Flag, "MSG_ZEROCOPY"), (Way::Ring, "io_uring SEND_ZC")] {
            let [zero, plain] = beside(rounds, || stream(way, frame), || stream(Way::Plain, frame))?;
            let data = format!("frames of {} KiB, {name}", frame >> 10);
            let (rate, plain_rate) = (gigabytes / zero.0, gigabytes / plain.0);
            rows.push(row("zero_copy", &data, "GB/s", rate, "sendmsg", plain_rate, rate / plain_rate));
            let (cpu, plain_cpu) = (zero.1 / gigabytes, plain.1 / gigabytes);
            rows.push(row("zero_copy_cpu", &data, "s/GB", cpu, "sendmsg", plain_cpu, plain_cpu / cpu));
        }
    }
    Ok(rows)
}
