//! What two connections say to each other, byte by byte.

use std::time::Duration;

use bytes::Bytes;
use deltalite_alloc::MemoryBudget;

use super::{CallSpec, Checksums, Config, Connection, Event, Greeting, Incoming, Receiver, SendQueue};
use crate::error::{ErrorKind, RpcError};
use crate::frame::{FLAG_LAST, Header, Kind};
use crate::limits::{ERROR_BYTES_MAX, HEADER_BYTES};
use crate::time::Time;

/// What a connection sends, as bytes.
fn sent(from: &mut Connection, now: Time) -> Vec<u8> {
    let mut queue = SendQueue::default();
    from.encode(&mut queue, now);
    queue.chunks().flatten().copied().collect()
}

fn receive(to: &mut Connection, bytes: &[u8], now: Time) {
    Receiver::default().receive(bytes, &mut (to, now));
}

/// Both ends, after the handshake.
fn pair(client: Config, server: Config) -> (Connection, Connection) {
    let now = Time::default();
    let (mut client, mut server) = (Connection::client(client, None, now), Connection::server(server, now));
    receive(&mut server, &sent(&mut client, now), now);
    assert_eq!(server.poll_event(), Some(Event::Greeted));
    server.admit(Greeting { shard: 0, shards: 1 }, now);
    receive(&mut client, &sent(&mut server, now), now);
    assert_eq!(client.poll_event(), Some(Event::Ready));
    let ping = sent(&mut client, now);
    receive(&mut server, &ping, now);
    receive(&mut client, &sent(&mut server, now), now);
    (client, server)
}

/// An answer of the server, as bytes on their way, and what the client makes of it with one bit flipped in its payload.
fn flipped(client: Config, server: Config) -> (Vec<u8>, Incoming) {
    let now = Time::default();
    let (mut client, mut server) = pair(client, server);
    let call = client.open(1, Vec::new(), Vec::new(), &CallSpec::default(), now).unwrap();
    receive(&mut server, &sent(&mut client, now), now);
    server.send(call, b"m".to_vec(), vec![Bytes::from(vec![5; 1000])], false, true);
    let mut bytes = sent(&mut server, now);
    let last = bytes.len() - 1;
    bytes[last] ^= 4;
    receive(&mut client, &bytes, now);
    (bytes, client.next_message(call, now))
}

#[test]
fn bodies_have_checksums_unless_both_sides_need_none() {
    let safe = Config { safe_way: true, ..Config::default() };
    let always = Config { checksums: Checksums::Always, ..safe.clone() };
    for (client, server) in [
        (Config::default(), safe.clone()),
        (safe.clone(), Config::default()),
        (always.clone(), safe.clone()),
        (safe.clone(), always),
        (Config::default(), Config::default()),
    ] {
        let (_, message) = flipped(client, server);
        let Incoming::End(Err(error)) = message else { panic!("{message:?}") };
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.to_string().contains("does not match its checksum"), "{error}");
    }
    let (bytes, message) = flipped(safe.clone(), safe);
    let Incoming::Message(message) = message else { panic!("{message:?}") };
    assert_eq!(message.payload().unwrap().last(), Some(&(5 ^ 4)), "nobody looks");
    // A message without a checksum that was not agreed on is not taken.
    let (mut client, mut server) = pair(Config::default(), Config::default());
    let call = client.open(1, Vec::new(), Vec::new(), &CallSpec::default(), Time::default()).unwrap();
    receive(&mut server, &sent(&mut client, Time::default()), Time::default());
    receive(&mut client, &bytes, Time::default());
    let Incoming::End(Err(error)) = client.next_message(call, Time::default()) else { panic!("taken") };
    assert!(error.to_string().contains("without a checksum"), "{error}");
}

#[test]
fn headers_are_checked_whatever_was_agreed_on() {
    let safe = Config { safe_way: true, ..Config::default() };
    let (mut client, mut server) = pair(safe.clone(), safe);
    let now = Time::default();
    let call = client.open(1, Vec::new(), Vec::new(), &CallSpec::default(), now).unwrap();
    receive(&mut server, &sent(&mut client, now), now);
    server.send(call, Vec::new(), vec![Bytes::from(vec![5; 1000])], false, true);
    let bytes = sent(&mut server, now);
    for bit in 0..HEADER_BYTES * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let (mut client, _) = pair(
            Config { safe_way: true, ..Config::default() },
            Config { safe_way: true, ..Config::default() },
        );
        let call = client.open(1, Vec::new(), Vec::new(), &CallSpec::default(), now).unwrap();
        receive(&mut client, &damaged, now);
        assert!(matches!(client.next_message(call, now), Incoming::End(Err(_))), "bit {bit}");
    }
}

#[test]
fn a_connection_without_calls_closes_itself() {
    let patient = Config { idle_timeout: Some(Duration::from_secs(5)), ..Config::default() };
    let (mut client, mut server) = pair(patient, Config::default());
    let at = |seconds| Time::default().after(Duration::from_secs(seconds));
    let call = client.open(1, Vec::new(), Vec::new(), &CallSpec::default(), at(1)).unwrap();
    receive(&mut server, &sent(&mut client, at(1)), at(1));
    client.tick(at(8));
    assert!(client.takes_calls(), "there is a call");
    server.send(call, b"done".to_vec(), Vec::new(), false, true);
    receive(&mut client, &sent(&mut server, at(9)), at(9));
    assert!(matches!(client.next_message(call, at(9)), Incoming::Message(_)));
    client.forget(call);
    client.tick(at(9));
    assert_eq!(client.wake_at(), Some(at(14)));
    client.tick(at(13));
    assert!(client.takes_calls());
    client.tick(at(14));
    assert!(client.is_closed() && client.error().is_none(), "an end in order");
    receive(&mut server, &sent(&mut client, at(14)), at(14));
    assert!(!server.takes_calls());
}

#[test]
fn nested_calls_have_what_is_left_of_the_time() {
    let now = Time::default();
    let (mut client, mut server) = pair(Config::default(), Config::default());
    let spec = CallSpec { timeout: Some(Duration::from_secs(2)), request: 77, ..CallSpec::default() };
    let call = client.open(1, Vec::new(), Vec::new(), &spec, now).unwrap();
    receive(&mut server, &sent(&mut client, now), now);
    let opened = server.take_opened(call).unwrap();
    let nested = opened.nested(now.after(Duration::from_millis(1500))).unwrap();
    assert_eq!((nested.request, nested.timeout), (77, Some(Duration::from_millis(500))));
    let late = opened.nested(now.after(Duration::from_secs(2))).unwrap_err();
    assert_eq!(late.kind(), ErrorKind::DeadlineExceeded);
}

#[test]
fn wide_streams_leave_room_for_narrow_ones() {
    let now = Time::default();
    let (mut client, _) = pair(Config::default(), Config::default());
    let spec = CallSpec { window: 1 << 20, ..CallSpec::default() };
    for n in 0..500 {
        client.open(1, Vec::new(), Vec::new(), &spec, now).unwrap_or_else(|e| panic!("call {n}: {e}"));
    }
}

/// Opens with this method and these flags, and its reset.
fn opened_and_reset(stream: u32, flags: u8) -> Vec<u8> {
    let mut open = Header::new(Kind::Open, stream);
    (open.flags, open.credit) = (flags, 1 << 20);
    let reset = Header::new(Kind::Reset, stream);
    [bytemuck::bytes_of(&open.seal(0)), bytemuck::bytes_of(&reset.seal(0))].concat()
}

/// A program that lets go of what has ended.
fn let_go(server: &mut Connection) {
    while let Some(event) = server.poll_event() {
        if let Event::Ended(stream) = event {
            server.forget(stream);
        }
    }
}

#[test]
fn streams_that_are_reset_leave_nothing_behind() {
    let now = Time::default();
    let (_, mut server) = pair(Config::default(), Config::default());
    let idle = server.kept_bytes();
    // The peer reads nothing: grants of streams that are gone are not told, and not kept.
    for stream in 1..=100_000 {
        receive(&mut server, &opened_and_reset(stream, 0), now);
        let_go(&mut server);
        assert!(server.kept_bytes() <= idle + 1000, "{} bytes after {stream} streams", server.kept_bytes());
    }
    assert!(!server.is_closed(), "{:?}", server.error());
}

#[test]
fn answers_to_streams_that_are_reset_leave_nothing_behind() {
    let now = Time::default();
    let (_, mut server) = pair(Config::default(), Config::default());
    // The connection has no credit left: a first answer waits, and others behind it.
    server.credit = 0;
    for stream in 1..=100_000 {
        let bytes = opened_and_reset(stream, FLAG_LAST);
        let until = if stream == 1 { HEADER_BYTES } else { bytes.len() };
        receive(&mut server, &bytes[..HEADER_BYTES], now);
        server.send(stream, b"answer".to_vec(), Vec::new(), false, true);
        sent(&mut server, now);
        receive(&mut server, &bytes[HEADER_BYTES..until], now);
        let_go(&mut server);
        assert!(server.kept_bytes() <= 2000, "{} bytes after {stream} streams", server.kept_bytes());
    }
    assert!(!server.is_closed(), "{:?}", server.error());
}

#[test]
fn requests_count_as_windows_do() {
    let now = Time::default();
    let budget = MemoryBudget::root("server", 1 << 20);
    let config = Config {
        connection_window: 1 << 20,
        frame_bytes_max: 64 << 10,
        budget: Some(budget.clone()),
        ..Config::default()
    };
    let (mut client, mut server) = pair(Config::default(), config);
    let calls: Vec<u32> = (0..20)
        .map(|_| client.open(1, vec![1; 60_000], Vec::new(), &CallSpec::default(), now).unwrap())
        .collect();
    let mut queue = SendQueue::default();
    let mut receiver = Receiver::default();
    loop {
        client.encode(&mut queue, now);
        let bytes: Vec<u8> = queue.chunks().flatten().copied().collect();
        if bytes.is_empty() {
            break;
        }
        receiver.receive(&bytes, &mut (&mut server, now));
        queue.sent(bytes.len());
    }
    assert_eq!(server.streams(), 17, "17 requests of 60,064 bytes fit 1 MiB");
    assert!(budget.usage() > 17 * 60_000 && budget.usage() <= 1 << 20, "{}", budget.usage());
    receive(&mut client, &sent(&mut server, now), now);
    let refused: Vec<ErrorKind> = calls
        .iter()
        .filter_map(|&call| match client.next_message(call, now) {
            Incoming::End(Err(error)) => Some(error.kind()),
            _ => None,
        })
        .collect();
    assert_eq!(refused, [ErrorKind::Overloaded; 3]);
    for call in calls {
        server.forget(call);
    }
    assert_eq!(budget.usage(), 0);
}

/// What a violation of the protocol is told; the connection's end.
fn violation(header: Header, meta: &[u8]) -> String {
    let now = Time::default();
    let (mut client, mut server) = pair(Config::default(), Config::default());
    let call = client.open(1, Vec::new(), Vec::new(), &CallSpec::default(), now).unwrap();
    receive(&mut server, &sent(&mut client, now), now);
    assert_eq!(call, 1);
    let mut header = header;
    header.meta_bytes = meta.len() as u32;
    let header = header.seal(crate::frame::BodyCrc::of(std::iter::once(meta)));
    receive(&mut server, &[bytemuck::bytes_of(&header), meta].concat(), now);
    let error = server.error().unwrap_or_else(|| panic!("{header:?} was taken")).clone();
    assert_eq!(error.kind(), ErrorKind::Protocol);
    receive(&mut client, &sent(&mut server, now), now);
    assert_eq!(client.error().map(ToString::to_string), Some(error.to_string()), "the peer hears why");
    error.to_string()
}

#[test]
fn frames_have_their_place() {
    let open = |stream, credit| {
        let mut header = Header::new(Kind::Open, stream);
        header.credit = credit;
        header
    };
    for (header, meta, told) in [
        (Header::new(Kind::Reset, 9), 0, "which was never opened"),
        (Header::new(Kind::End, 9), 0, "which was never opened"),
        (Header::new(Kind::Data, 0), 10, "which was never opened"),
        (Header::new(Kind::Credit, 9), 0, "which was never opened"),
        (Header::new(Kind::Ping, 1), 0, "which is the connection's"),
        (Header::new(Kind::Goaway, 1), 0, "which is the connection's"),
        (Header::new(Kind::End, 1), 0, "after the end of stream 1"),
        (Header::new(Kind::Reset, 1), 9000, "8192 are allowed"),
        (open(1, 1 << 20), 0, "was opened after stream 1"),
        (open(2, 100), 0, "are the least"),
        (Header::new(Kind::Hello, 0), 0, "a second greeting"),
    ] {
        let said = violation(header, &vec![0; meta]);
        assert!(said.contains(told), "{said}");
    }
}

#[test]
fn the_largest_error_fits_a_frame() {
    let mut error = RpcError::new(ErrorKind::Internal, "x".repeat(20_000)).with_code("y".repeat(9000));
    for _ in 0..20 {
        error = error.caused_by("z".repeat(3000));
    }
    assert!(error.encode().len() <= ERROR_BYTES_MAX as usize, "{}", error.encode().len());
    assert_eq!(RpcError::decode(&error.encode()).kind(), ErrorKind::Internal);
}

/// An honest reader grants each message that it takes of a narrow window: that is no flood, at whatever rate.
#[test]
fn grants_that_answer_messages_are_no_flood() {
    let now = Time::default();
    let narrow = Config { connection_window: 17_000, frame_bytes_max: 16 << 10, ..Config::default() };
    let (mut client, mut server) = pair(narrow, Config::default());
    let spec = CallSpec { window: 16 << 10, ..CallSpec::default() };
    let call = client.open(1, Vec::new(), Vec::new(), &spec, now).unwrap();
    receive(&mut server, &sent(&mut client, now), now);
    let mut grants = 0;
    for n in 0..50_000 {
        server.send(call, Vec::new(), Vec::new(), false, false);
        receive(&mut client, &sent(&mut server, now), now);
        assert!(matches!(client.next_message(call, now), Incoming::Message(_)), "message {n}");
        let told = sent(&mut client, now);
        grants += told.len() / HEADER_BYTES;
        receive(&mut server, &told, now);
    }
    assert!(grants > 50_000 && !server.is_closed(), "{grants} grants: {:?}", server.error());
}

/// A frame that takes long is waited for as long as the slowest link needs; nothing else counts as silence meanwhile.
#[test]
fn a_slow_frame_is_waited_for() {
    let now = Time::default();
    let (mut client, mut server) = pair(Config::default(), Config::default());
    let at = |seconds| now.after(Duration::from_secs(seconds));
    client.open(1, vec![1; 60_000], Vec::new(), &CallSpec::default(), now).unwrap();
    let bytes = sent(&mut client, now);
    let mut receiver = Receiver::default();
    receiver.receive(&bytes[..5000], &mut (&mut server, now));
    for second in 1..=20 {
        server.tick(at(second));
        assert!(!server.is_closed(), "after {second} s");
    }
    let link = Duration::from_micros(60_000 * 1_000_000 / (64 << 10));
    assert_eq!(server.wake_at(), Some(at(20).after(link)));
    server.tick(at(21));
    let error = server.error().unwrap();
    assert!(
        error.kind() == ErrorKind::Unavailable && error.to_string().contains("did not arrive whole"),
        "{error}"
    );
}

/// A call that was refused never ran, and may be made again whatever it does. One that was cut off by the end of its connection may have run.
#[test]
fn a_call_that_was_cut_off_is_not_one_that_was_refused() {
    let now = Time::default();
    let (mut client, mut server) = pair(Config::default(), Config::default());
    let call = client.open(1, Vec::new(), Vec::new(), &CallSpec::default(), now).unwrap();
    receive(&mut server, &sent(&mut client, now), now);
    let wait = Duration::from_millis(30);
    server.refuse(&RpcError::new(ErrorKind::Overloaded, "no memory for a frame").retry_after(wait));
    receive(&mut client, &sent(&mut server, now), now);
    let Incoming::End(Err(error)) = client.next_message(call, now) else { panic!("no end") };
    assert_eq!((error.kind(), error.retryable()), (ErrorKind::Unavailable, Some(wait)), "{error}");
    assert!(error.to_string().contains("no memory for a frame"), "{error}");
}
