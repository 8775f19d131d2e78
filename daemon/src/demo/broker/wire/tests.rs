use proptest::prelude::*;

use super::*;

const NOW: BootTime = BootTime::since_boot(Duration::from_secs(1000));

fn connected(protocol: Protocol) -> Wire {
    let connect: &[u8] = match protocol {
        Protocol::V5 => b"\x10\x0e\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x01c",
        Protocol::V3_1_1 => b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01c",
    };
    let mut wire = Wire::new();
    let mut input = BytesMut::from(connect);
    assert!(matches!(
        wire.next(&mut input, NOW),
        Ok(Some(Received::Connect(_)))
    ));
    let announcement = Announcement {
        receive_maximum: 10,
        ..Announcement::default()
    };
    wire.accept(false, &Reply::code(0), &announcement).unwrap();
    wire
}

/// Packets a client sends, whole and right, to be spoilt.
fn packet() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(b"\x32\x0a\x00\x03a/b\x00\x01\x00xy".to_vec()),
        Just(b"\x32\x13\x00\x03a/b\x00\x01\x0a\x02\x00\x00\x00\x3c\x26\x00\x00\x00\x00x".to_vec()),
        Just(b"\x30\x06\x00\x03a/b\x00".to_vec()),
        Just(b"\x82\x09\x00\x02\x00\x00\x03a/+\x01".to_vec()),
        Just(b"\xa2\x08\x00\x03\x00\x00\x03a/+".to_vec()),
        Just(b"\x40\x02\x00\x01".to_vec()),
        Just(b"\xc0\x00".to_vec()),
        Just(b"\xe0\x07\x00\x05\x11\x00\x00\x00\x00".to_vec()),
        Just(b"\x10\x0e\x00\x04MQTT\x05\xc6\x00\x3c\x00\x00\x01c".to_vec()),
        proptest::collection::vec(any::<u8>(), 0..40),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn no_bytes_make_it_panic_or_go_on_for_ever(
        five in any::<bool>(),
        greeted in any::<bool>(),
        packets in proptest::collection::vec(packet(), 1..6),
        spoils in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        chunk in 1_usize..50,
    ) {
        let mut wire = match (greeted, five) {
            (true, true) => connected(Protocol::V5),
            (true, false) => connected(Protocol::V3_1_1),
            (false, _) => Wire::new(),
        };
        let mut bytes = packets.concat();
        for (index, value) in spoils {
            if !bytes.is_empty() {
                let index = index.index(bytes.len());
                bytes[index] = value;
            }
        }
        let mut input = BytesMut::new();
        'all: for part in bytes.chunks(chunk) {
            input.extend_from_slice(part);
            loop {
                let before = input.len();
                match wire.next(&mut input, NOW) {
                    Ok(Some(_)) => prop_assert!(input.len() < before),
                    Ok(None) => break,
                    Err(_) => break 'all,
                }
            }
        }
    }
}

#[test]
fn a_packet_cut_anywhere_is_read_when_it_is_whole() {
    for protocol in [Protocol::V5, Protocol::V3_1_1] {
        let mut wire = connected(protocol);
        let mut input = BytesMut::new();
        for byte in b"\xc0" {
            input.extend_from_slice(&[*byte]);
            assert!(matches!(wire.next(&mut input, NOW), Ok(None)));
        }
        input.extend_from_slice(b"\0");
        assert!(matches!(wire.next(&mut input, NOW), Ok(Some(Received::Ping))));
        assert!(input.is_empty());
    }
}

#[test]
fn a_packet_that_announces_too_much_is_refused_by_its_header() {
    let mut wire = connected(Protocol::V5);
    wire.output().clear();
    let mut input = BytesMut::from(&b"\x30\xff\xff\xff\x7f"[..]);
    assert!(wire.next(&mut input, NOW).is_err());
    assert_eq!(wire.output()[..1], [0xE0]);
    assert_eq!(wire.output()[2], PACKET_TOO_LARGE);
    // Exactly the limit is waited for.
    let mut wire = connected(Protocol::V5);
    let mut input = BytesMut::from(&b"\x30\xfc\xff\x3f"[..]);
    assert!(matches!(wire.next(&mut input, NOW), Ok(None)));
    let mut input = BytesMut::from(&b"\x30\xfd\xff\x3f"[..]);
    assert!(wire.next(&mut input, NOW).is_err());
}
