//! What two connections say to each other, byte by byte.

use std::time::Duration;

use bytes::Bytes;

use super::{CallSpec, Checksums, Config, Connection, Event, Greeting, Incoming, Receiver, SendQueue};
use crate::error::ErrorKind;
use crate::limits::HEADER_BYTES;
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
