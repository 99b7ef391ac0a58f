//! A forwarder that breaks connections.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Forwards what arrives at its port to a server, and resets each connection after some bytes, so many times.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    listener: TcpListener,
    pub(crate) resets_left: Arc<AtomicU64>,
    pub(crate) cut: Arc<AtomicBool>,
}

impl Proxy {
    pub(crate) fn new(resets: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Self {
            port: listener.local_addr().unwrap().port(),
            listener,
            resets_left: Arc::new(AtomicU64::new(resets)),
            cut: Arc::default(),
        }
    }

    /// Begins to forward; each connection may pass up to `bytes`, a number that varies by the seed.
    pub(crate) fn forward(&self, to: SocketAddr, bytes: u64, seed: u64) {
        let (listener, resets, cut) =
            (self.listener.try_clone().unwrap(), Arc::clone(&self.resets_left), Arc::clone(&self.cut));
        std::thread::spawn(move || {
            let mut seed = seed.wrapping_mul(2).wrapping_add(1);
            for near in listener.incoming() {
                let (Ok(near), Ok(far)) = (near, TcpStream::connect(to)) else { return };
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let budget = Arc::new(AtomicU64::new((seed >> 33) % bytes));
                for (from, into) in [(&near, &far), (&far, &near)] {
                    let (from, into) = (from.try_clone().unwrap(), into.try_clone().unwrap());
                    let (resets, budget, cut) = (Arc::clone(&resets), Arc::clone(&budget), Arc::clone(&cut));
                    std::thread::spawn(move || pump(from, into, &resets, &budget, &cut));
                }
            }
        });
    }
}

fn pump(mut from: TcpStream, mut into: TcpStream, resets: &AtomicU64, budget: &AtomicU64, cut: &AtomicBool) {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let n = match from.read(&mut buffer) {
            Ok(n) if n > 0 => n,
            _ => break,
        };
        while cut.load(Ordering::Relaxed) {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        let left = budget.load(Ordering::Relaxed);
        if (n as u64) > left
            && resets.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok()
        {
            // Closing with a linger of nothing is a reset, in the midst of a frame.
            let _ = into.write_all(&buffer[..left as usize]);
            for stream in [&from, &into] {
                let _ = socket2::SockRef::from(stream).set_linger(Some(std::time::Duration::ZERO));
                let _ = stream.shutdown(Shutdown::Both);
            }
            return;
        }
        budget.fetch_sub((n as u64).min(left), Ordering::Relaxed);
        if into.write_all(&buffer[..n]).is_err() {
            break;
        }
    }
    let _ = into.shutdown(Shutdown::Write);
}
