//! Which addresses may be called. The rule is applied to the address really connected to, after the
//! name was resolved, so that no name can lead inside.
//!
//! What would surprise: an address of the well-known NAT64 prefix is judged by the IPv4 address in
//! it, as the network will deliver it there; without that, nothing could be reached from IPv6-only
//! hosts. Every other translated form is refused whole: no honest name resolves to one. And of all
//! other IPv6 addresses only the global ones are called, whatever the list leaves out.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What kind of address nobody may be led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forbidden {
    /// In words, with its article.
    pub kind: &'static str,
    /// Refused even where private addresses are allowed: it never is a service's.
    pub always: bool,
}

/// Whether an address is one that only insiders should reach; `None`: it is public.
pub fn forbidden(address: IpAddr) -> Option<Forbidden> {
    match address {
        IpAddr::V4(v4) => forbidden_v4(v4),
        IpAddr::V6(v6) => forbidden_v6(v6),
    }
}

fn forbidden_v4(v4: Ipv4Addr) -> Option<Forbidden> {
    let row = IPV4.iter().find(|row| bits_v4(v4, row.0.len) == bits_v4(row.0.start, row.0.len))?;
    Some(row.1)
}

fn forbidden_v6(v6: Ipv6Addr) -> Option<Forbidden> {
    if v6.octets().starts_with(&NAT64) {
        let [.., a, b, c, d] = v6.octets();
        return forbidden_v4(Ipv4Addr::new(a, b, c, d));
    }
    let row = IPV6.iter().find(|row| bits_v6(v6, row.0.len) == bits_v6(row.0.start, row.0.len));
    let global = bits_v6(v6, GLOBAL_V6.len) == bits_v6(GLOBAL_V6.start, GLOBAL_V6.len);
    match row {
        Some(row) => Some(row.1),
        None => (!global).then_some(never("a reserved address")),
    }
}

fn bits_v4(address: Ipv4Addr, len: u32) -> u32 {
    address.to_bits().checked_shr(32 - len).unwrap_or(0)
}

fn bits_v6(address: Ipv6Addr, len: u32) -> u128 {
    address.to_bits().checked_shr(128 - len).unwrap_or(0)
}

struct Block<A> {
    start: A,
    len: u32,
}

const fn v4(a: u8, b: u8, c: u8, d: u8, len: u32) -> Block<Ipv4Addr> {
    Block { start: Ipv4Addr::new(a, b, c, d), len }
}

const fn v6(start: [u16; 8], len: u32) -> Block<Ipv6Addr> {
    let [a, b, c, d, e, f, g, h] = start;
    Block { start: Ipv6Addr::new(a, b, c, d, e, f, g, h), len }
}

const fn unless_allowed(kind: &'static str) -> Forbidden {
    Forbidden { kind, always: false }
}

const fn never(kind: &'static str) -> Forbidden {
    Forbidden { kind, always: true }
}

/// 64:ff9b::/96 (RFC 6052 §2.1).
const NAT64: [u8; 12] = [0x00, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0];

/// All that is given out to be reached by everybody (RFC 4291 §2.4, IANA's IPv6 address space).
const GLOBAL_V6: Block<Ipv6Addr> = v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);

/// The first row that fits decides. Source: IANA's special-purpose registry (RFC 6890), read
/// 2026-11, and the metadata addresses of the large clouds.
const IPV4: &[(Block<Ipv4Addr>, Forbidden)] = &[
    (v4(169, 254, 169, 254, 32), never("a cloud's metadata address")),
    (v4(169, 254, 170, 2, 32), never("a cloud's metadata address")),
    (v4(100, 100, 100, 200, 32), never("a cloud's metadata address")),
    (v4(168, 63, 129, 16, 32), never("a cloud's metadata address")),
    (v4(192, 0, 0, 192, 32), never("a cloud's metadata address")),
    (v4(0, 0, 0, 0, 8), never("an unspecified address")),
    (v4(224, 0, 0, 0, 4), never("a multicast address")),
    (v4(240, 0, 0, 0, 4), never("a reserved address")),
    (v4(127, 0, 0, 0, 8), unless_allowed("a loopback address")),
    (v4(10, 0, 0, 0, 8), unless_allowed("a private address")),
    (v4(172, 16, 0, 0, 12), unless_allowed("a private address")),
    (v4(192, 168, 0, 0, 16), unless_allowed("a private address")),
    (v4(100, 64, 0, 0, 10), unless_allowed("a shared address")),
    (v4(169, 254, 0, 0, 16), unless_allowed("a link-local address")),
    (v4(192, 0, 0, 0, 24), unless_allowed("a reserved address")),
    (v4(192, 0, 2, 0, 24), unless_allowed("a documentation address")),
    (v4(198, 51, 100, 0, 24), unless_allowed("a documentation address")),
    (v4(203, 0, 113, 0, 24), unless_allowed("a documentation address")),
    (v4(192, 88, 99, 0, 24), unless_allowed("a translated address")),
    (v4(198, 18, 0, 0, 15), unless_allowed("a benchmarking address")),
];

const IPV6: &[(Block<Ipv6Addr>, Forbidden)] = &[
    (v6([0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254], 128), never("a cloud's metadata address")),
    (v6([0; 8], 128), never("an unspecified address")),
    (v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8), never("a multicast address")),
    (v6([0, 0, 0, 0, 0, 0xffff, 0, 0], 96), never("a mapped address")),
    (v6([0, 0, 0, 0, 0xffff, 0, 0, 0], 96), never("a translated address")),
    (v6([0, 0, 0, 0, 0, 0, 0, 1], 128), unless_allowed("a loopback address")),
    (v6([0; 8], 96), never("a mapped address")),
    (v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48), unless_allowed("a translated address")),
    (v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16), unless_allowed("a translated address")),
    (v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 32), unless_allowed("a translated address")),
    (v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7), unless_allowed("a private address")),
    (v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10), unless_allowed("a link-local address")),
    (v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10), unless_allowed("a private address")),
    (v6([0x0100, 0, 0, 0, 0, 0, 0, 0], 64), unless_allowed("a reserved address")),
    (v6([0x2001, 0x0db8, 0, 0, 0, 0, 0, 0], 32), unless_allowed("a documentation address")),
    (v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20), unless_allowed("a documentation address")),
    (v6([0x5f00, 0, 0, 0, 0, 0, 0, 0], 16), unless_allowed("a reserved address")),
];
