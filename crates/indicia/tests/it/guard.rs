//! Which addresses may be called.

use std::net::IpAddr;

use indicia::transport::{HttpsTransport, TransportOptions, forbidden};

use crate::hostile::{Hostile, answer, answering};
use crate::support::{begins, patient, send, send_by};

/// Address, and what it is (empty: public); `!` before what is refused always.
const TABLE: &[(&str, &str)] = &[
    ("1.1.1.1", ""),
    ("8.8.8.8", ""),
    ("100.63.255.255", ""),
    ("100.128.0.0", ""),
    ("126.255.255.255", ""),
    ("128.0.0.0", ""),
    ("172.15.255.255", ""),
    ("172.32.0.0", ""),
    ("169.253.255.255", ""),
    ("169.255.0.0", ""),
    ("192.167.255.255", ""),
    ("192.169.0.0", ""),
    ("223.255.255.255", ""),
    ("0.0.0.0", "!an unspecified address"),
    ("0.1.2.3", "!an unspecified address"),
    ("10.0.0.0", "a private address"),
    ("10.255.255.255", "a private address"),
    ("172.16.0.1", "a private address"),
    ("172.31.255.255", "a private address"),
    ("192.168.1.1", "a private address"),
    ("100.64.0.0", "a shared address"),
    ("100.127.255.255", "a shared address"),
    ("127.0.0.1", "a loopback address"),
    ("127.255.255.255", "a loopback address"),
    ("169.254.1.1", "a link-local address"),
    ("169.254.169.254", "!a cloud's metadata address"),
    ("169.254.170.2", "!a cloud's metadata address"),
    ("100.100.100.200", "!a cloud's metadata address"),
    ("168.63.129.15", ""),
    ("168.63.129.16", "!a cloud's metadata address"),
    ("64:ff9b::168.63.129.16", "!a cloud's metadata address"),
    ("192.0.2.1", "a documentation address"),
    ("198.19.0.1", "a benchmarking address"),
    ("224.0.0.1", "!a multicast address"),
    ("239.255.255.255", "!a multicast address"),
    ("240.0.0.1", "!a reserved address"),
    ("255.255.255.255", "!a reserved address"),
    ("2606:4700::1111", ""),
    ("2001:4860:4860::8888", ""),
    ("2000::1", ""),
    ("3ffe:ffff::1", ""),
    ("1fff:ffff::1", "!a reserved address"),
    ("4000::1", "!a reserved address"),
    ("fbff::1", "!a reserved address"),
    ("64:ff9b:2::1", "!a reserved address"),
    ("::fffe:0:0", "!a reserved address"),
    ("::ffff:0:1.1.1.1", "!a translated address"),
    ("::ffff:0:127.0.0.1", "!a translated address"),
    ("::ffff:0:169.254.169.254", "!a translated address"),
    ("::", "!an unspecified address"),
    ("::1", "a loopback address"),
    ("::ffff:1.1.1.1", "!a mapped address"),
    ("::ffff:10.0.0.1", "!a mapped address"),
    ("::7f00:1", "!a mapped address"),
    ("64:ff9b::1.1.1.1", ""),
    ("64:ff9b::10.0.0.1", "a private address"),
    ("64:ff9b::127.0.0.1", "a loopback address"),
    ("64:ff9b::169.254.169.254", "!a cloud's metadata address"),
    ("64:ff9b:1::1", "a translated address"),
    ("2002:7f00:1::", "a translated address"),
    ("2001::1", "a translated address"),
    ("fc00::1", "a private address"),
    ("fdff::1", "a private address"),
    ("fd00:ec2::254", "!a cloud's metadata address"),
    ("fe80::1", "a link-local address"),
    ("febf::1", "a link-local address"),
    ("fec0::1", "a private address"),
    ("ff02::1", "!a multicast address"),
    ("2001:db8::1", "a documentation address"),
    ("100::1", "a reserved address"),
];

#[test]
fn each_address_is_judged() {
    for (address, expected) in TABLE {
        let judged = forbidden(address.parse::<IpAddr>().unwrap());
        let got = judged.map_or(String::new(), |forbidden| {
            format!("{}{}", if forbidden.always { "!" } else { "" }, forbidden.kind)
        });
        assert_eq!(got, *expected, "{address}");
    }
}

/// Sends over https to this host and expects that nothing was connected.
async fn check_refused(transport: &HttpsTransport, host: &str, why: &str) {
    let got = send_by(transport, &format!("https://{host}/token")).await;
    begins(&got, "not sent: ");
    assert!(got.contains(why), "{got}");
}

#[tokio::test]
async fn https_does_not_go_inside() {
    let server = Hostile::start(vec![answering(answer("200 OK", &[], "{}"))]);
    let port = server.address().port();
    let transport =
        HttpsTransport::new(TransportOptions { limits: patient(), ..Default::default() });
    for host in ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]"] {
        check_refused(&transport, &format!("{host}:{port}"), "address: not called").await;
    }
    check_refused(&transport, "169.254.169.254", "169.254.169.254, a cloud's metadata").await;
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn some_addresses_are_refused_even_where_private_ones_are_allowed() {
    let options =
        TransportOptions { limits: patient(), allow_private_addresses: true, ..Default::default() };
    let transport = HttpsTransport::new(options);
    for host in ["169.254.169.254", "[fd00:ec2::254]", "0.0.0.0", "224.0.0.1", "[::ffff:127.0.0.1]"]
    {
        check_refused(&transport, host, "address: not called").await;
    }
}

// TR-13
#[tokio::test]
async fn tr_13_http_is_refused_off_loopback() {
    let server = Hostile::start(vec![answering(answer("200 OK", &[], "{}"))]);
    let port = server.address().port();
    for url in [
        "http://example.com/token?x=canary-refresh-token".to_owned(),
        format!("http://localhost:{port}/token"),
        format!("http://localhost.:{port}/token"),
        format!("http://[::ffff:127.0.0.1]:{port}/token"),
        "http://10.0.0.1/token".to_owned(),
        format!("ftp://127.0.0.1:{port}/token"),
    ] {
        let got = send(&url).await;
        begins(&got, "not sent: ");
        assert!(got.ends_with("only https is called, or http on 127.0.0.1"), "{got}");
    }
    assert_eq!(server.connections(), 0);
    assert_eq!(send(&server.url("/token")).await, "200 whole: {}");
}
