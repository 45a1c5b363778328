use super::*;

/// A record around a body.
fn record(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind, 3, 1];
    bytes.extend((body.len() as u16).to_be_bytes());
    bytes.extend(body);
    bytes
}

fn handshake(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind, 0];
    bytes.extend((body.len() as u16).to_be_bytes());
    bytes.extend(body);
    bytes
}

fn extension(number: u16, data: &[u8]) -> Vec<u8> {
    let mut bytes = number.to_be_bytes().to_vec();
    bytes.extend((data.len() as u16).to_be_bytes());
    bytes.extend(data);
    bytes
}

fn list16(data: &[u8]) -> Vec<u8> {
    let mut bytes = (data.len() as u16).to_be_bytes().to_vec();
    bytes.extend(data);
    bytes
}

fn hello_of_client() -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([0, 0, 2, 0x13, 0x01, 1, 0]);
    let name = b"shop.internal";
    let mut sni = vec![0, 0, name.len() as u8];
    sni.extend(name);
    let mut all = extension(0, &list16(&sni));
    all.extend(extension(16, &list16(b"\x02h2\x08http/1.1")));
    all.extend(extension(43, &[6, 0x2a, 0x2a, 3, 4, 3, 3]));
    body.extend(list16(&all));
    record(0x16, &handshake(1, &body))
}

fn hello_of_server(random: [u8; 32], versions: bool) -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend(random);
    body.extend([0, 0x13, 0x01, 0]);
    if versions {
        body.extend(list16(&extension(43, &[3, 4])));
    }
    record(0x16, &handshake(2, &body))
}

#[test]
fn a_whole_client_hello() {
    let hello = client_hello(&hello_of_client()).unwrap();
    assert_eq!(
        hello,
        ClientHello {
            sni: Some("shop.internal".into()),
            versions: vec![TLS_1_3, TLS_1_2],
            alpn: vec!["h2".into(), "http/1.1".into()],
            whole: true,
        }
    );
}

#[test]
fn a_cut_hello_gives_what_is_there() {
    let whole = hello_of_client();
    for cut in 0..whole.len() {
        let Some(hello) = client_hello(&whole[..cut]) else {
            assert!(cut < 9, "{cut}");
            continue;
        };
        assert!(!hello.whole, "{cut}");
        assert!(hello.sni.is_none_or(|name| name == "shop.internal"));
    }
    let server = hello_of_server([7; 32], true);
    for cut in 0..server.len() {
        if let Some(hello) = server_hello(&server[..cut]) {
            assert_eq!(hello.version, None, "{cut}");
        }
    }
}

#[test]
fn a_hello_in_two_records() {
    let whole = hello_of_client();
    let (first, second) = whole[5..].split_at(40);
    let mut split = record(0x16, first);
    split.extend(record(0x16, second));
    assert_eq!(client_hello(&split), client_hello(&whole));
}

#[test]
fn server_hellos() {
    let retry = [
        0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8,
        0x91, 0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8,
        0x33, 0x9c,
    ];
    for (bytes, version, again) in [
        (hello_of_server([7; 32], true), TLS_1_3, false),
        (hello_of_server([7; 32], false), TLS_1_2, false),
        (hello_of_server(retry, true), TLS_1_3, true),
    ] {
        let want = ServerHello {
            version: Some(version),
            retry: again,
            len: bytes.len(),
        };
        assert_eq!(server_hello(&bytes), Some(want));
        assert_eq!(client_hello(&bytes), None);
    }
}

#[test]
fn alerts() {
    let fatal = |description| Alert {
        fatal: true,
        description,
    };
    let mut behind_hello = hello_of_server([7; 32], true);
    behind_hello.extend([0x15, 3, 3, 0, 2, 2, 48]);
    for (bytes, want) in [
        (vec![0x15, 3, 1, 0, 2, 2, 40], Some(fatal(40))),
        (behind_hello, Some(fatal(48))),
        (vec![0x15, 3, 3, 0, 2, 2], None),
        // Encrypted.
        (vec![0x15, 3, 3, 0, 26, 2, 40], None),
        (vec![0x15, 3, 3, 0, 2, 9, 40], None),
        (b"HTTP/1.1 400".to_vec(), None),
        (Vec::new(), None),
    ] {
        assert_eq!(Alert::find(&bytes), want, "{bytes:?}");
    }
    assert_eq!(fatal(70).describe(), "70 (protocol_version)");
    assert_eq!(fatal(200).describe(), "200");
    assert!(!fatal(0).is_error() && fatal(40).is_error());
    assert!(fatal(48).is_about_certificate() && !fatal(47).is_about_certificate());
}

#[test]
fn sizes_of_encrypted_alerts() {
    for (bytes, want) in [
        ([0x17, 3, 3, 0, 19], true),
        ([0x17, 3, 3, 0, 53], false),
        ([0x15, 3, 3, 0, 26], true),
        ([0x16, 3, 3, 0, 19], false),
    ] {
        let record = records(&bytes).next().unwrap();
        assert_eq!(record.is_alert_size(), want, "{bytes:?}");
    }
}

#[test]
fn any_bytes_are_taken() {
    let sources = [
        hello_of_client(),
        hello_of_server([0xff; 32], true),
        vec![0xff; 64],
    ];
    for source in sources {
        for at in 0..source.len() {
            for flip in [1, 0x80, 0xff] {
                let mut bytes = source.clone();
                bytes[at] ^= flip;
                client_hello(&bytes);
                server_hello(&bytes);
                Alert::find(&bytes);
                assert!(records(&bytes).count() <= bytes.len());
            }
        }
    }
}

#[test]
fn names_are_safe_to_show() {
    let mut bytes = hello_of_client();
    let at = bytes.windows(4).position(|four| four == b"shop").unwrap();
    bytes[at] = 0x1b;
    let name = client_hello(&bytes).unwrap().sni.unwrap();
    assert_eq!(name, "\\x1bhop.internal");
}
