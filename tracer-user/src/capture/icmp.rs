//! ICMP and ICMPv6 errors about TCP segments: no tracepoint tells of them, a raw socket does.

use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd as _;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use socket2::{Domain, Protocol, Socket, Type};

use crate::event::{IcmpError, IcmpSays, MonoNs};

const TCP: u8 = 6;
/// Messages that are read in one go.
const BATCH: usize = 256;

/// Raw sockets in the network namespaces of the traced processes.
#[derive(Default)]
pub(super) struct Icmp {
    sockets: Vec<(Socket, Family)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    V4,
    V6,
}

impl Icmp {
    /// Opens the sockets of one more namespace. Needs CAP_NET_RAW there.
    pub(super) fn watch(&mut self, namespace: &File) -> io::Result<()> {
        let opened = std::thread::scope(|scope| {
            let opened = scope.spawn(|| -> io::Result<Vec<(Socket, Family)>> {
                move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
                let mut opened = vec![(open(Family::V4)?, Family::V4)];
                // A host without IPv6 has none of its errors.
                opened.extend(open(Family::V6).ok().map(|socket| (socket, Family::V6)));
                Ok(opened)
            });
            opened
                .join()
                .unwrap_or_else(|_| Err(io::Error::other("the thread for it ended")))
        })?;
        self.sockets.extend(opened);
        Ok(())
    }

    /// What has arrived.
    pub(super) fn read(&self, now: MonoNs) -> Vec<IcmpError> {
        let mut found = Vec::new();
        for (socket, family) in &self.sockets {
            let mut buffer = [0; 2048];
            for _ in 0..BATCH {
                // Readable means a whole message; the end of them is an error of its own.
                let Ok(got) =
                    rustix::net::recv(socket, &mut buffer, rustix::net::RecvFlags::DONTWAIT)
                else {
                    break;
                };
                let message = &buffer[..got.0.min(buffer.len())];
                found.extend(match family {
                    Family::V4 => v4(message, now),
                    Family::V6 => v6(message, now),
                });
            }
        }
        found
    }
}

fn open(family: Family) -> io::Result<Socket> {
    let (domain, protocol) = match family {
        Family::V4 => (Domain::IPV4, Protocol::ICMPV4),
        Family::V6 => (Domain::IPV6, Protocol::ICMPV6),
    };
    Socket::new(domain, Type::RAW, Some(protocol))
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn ipv4(bytes: &[u8], at: usize) -> Option<IpAddr> {
    let octets: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
    Some(Ipv4Addr::from(octets).into())
}

fn ipv6(bytes: &[u8], at: usize) -> Option<IpAddr> {
    let octets: [u8; 16] = bytes.get(at..at + 16)?.try_into().ok()?;
    Some(Ipv6Addr::from(octets).into())
}

/// Length of an IPv4 header (RFC 791, 3.1).
fn header_len(packet: &[u8]) -> Option<usize> {
    let first = *packet.first()?;
    let len = usize::from(first & 0xf) * 4;
    (first >> 4 == 4 && len >= 20).then_some(len)
}

/// "Destination unreachable" over IPv4: a raw socket gives the IP header too (RFC 792; the MTU of code
/// 4 is RFC 1191, 4).
fn v4(packet: &[u8], now: MonoNs) -> Option<IcmpError> {
    const UNREACHABLE: u8 = 3;
    const TOO_BIG: u8 = 4;
    let from = ipv4(packet, 12)?;
    let icmp = packet.get(header_len(packet)?..)?;
    if *icmp.first()? != UNREACHABLE {
        return None;
    }
    let code = *icmp.get(1)?;
    let quoted = icmp.get(8..)?;
    if *quoted.get(9)? != TCP {
        return None;
    }
    let ports = quoted.get(header_len(quoted)?..)?;
    Some(IcmpError {
        time_ns: now,
        from,
        local: SocketAddr::new(ipv4(quoted, 12)?, word(ports, 0)?),
        remote: SocketAddr::new(ipv4(quoted, 16)?, word(ports, 2)?),
        says: if code == TOO_BIG {
            IcmpSays::TooBig {
                mtu: word(icmp, 6)?.into(),
            }
        } else {
            IcmpSays::Unreachable { code }
        },
    })
}

/// "Destination unreachable" and "packet too big" over IPv6 (RFC 4443, 3.1 and 3.2): a raw socket gives
/// the ICMP part only, so the sender's own address stays the quoted destination's.
fn v6(icmp: &[u8], now: MonoNs) -> Option<IcmpError> {
    const UNREACHABLE: u8 = 1;
    const TOO_BIG: u8 = 2;
    const HEADER: usize = 40;
    let says = match (*icmp.first()?, *icmp.get(1)?) {
        (TOO_BIG, _) => IcmpSays::TooBig {
            mtu: u32::from(word(icmp, 4)?) << 16 | u32::from(word(icmp, 6)?),
        },
        (UNREACHABLE, code) => IcmpSays::Unreachable { code },
        _ => return None,
    };
    let quoted = icmp.get(8..)?;
    if *quoted.get(6)? != TCP {
        return None;
    }
    let remote = ipv6(quoted, 24)?;
    Some(IcmpError {
        time_ns: now,
        from: remote,
        local: SocketAddr::new(ipv6(quoted, 8)?, word(quoted, HEADER)?),
        remote: SocketAddr::new(remote, word(quoted, HEADER + 2)?),
        says,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From 192.0.2.254: 10.0.0.1:40000 to 10.0.0.5:8080 was too big for 1400.
    fn too_big() -> Vec<u8> {
        let mut packet = vec![0x45; 1];
        packet.extend([0; 8]);
        packet.extend([1, 0, 0, 192, 0, 2, 254, 10, 0, 0, 1]);
        packet.extend([3, 4, 0, 0, 0, 0, 0x05, 0x78]);
        packet.push(0x45);
        packet.extend([0; 8]);
        packet.extend([6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 5]);
        packet.extend(40_000u16.to_be_bytes());
        packet.extend(8080u16.to_be_bytes());
        packet.extend([0; 4]);
        packet
    }

    #[test]
    fn fragmentation_needed() {
        let error = v4(&too_big(), 5).unwrap();
        assert_eq!(error.from, IpAddr::from([192, 0, 2, 254]));
        assert_eq!(error.local, SocketAddr::from(([10, 0, 0, 1], 40_000)));
        assert_eq!(error.remote, SocketAddr::from(([10, 0, 0, 5], 8080)));
        assert_eq!(error.says, IcmpSays::TooBig { mtu: 1400 });
    }

    #[test]
    fn others_and_cut_ones() {
        let whole = too_big();
        let mut refused = whole.clone();
        refused[21] = 13;
        let says = v4(&refused, 5).unwrap().says;
        assert_eq!(says, IcmpSays::Unreachable { code: 13 });
        let mut echo = whole.clone();
        echo[20] = 8;
        assert_eq!(v4(&echo, 5), None);
        let mut udp = whole.clone();
        udp[37] = 17;
        assert_eq!(v4(&udp, 5), None);
        for len in 0..whole.len() - 4 {
            assert_eq!(v4(&whole[..len], 5), None, "{len}");
        }
    }

    #[test]
    fn packet_too_big() {
        let mut icmp = vec![2, 0, 0, 0, 0, 0, 0x05, 0x00];
        icmp.extend([0x60, 0, 0, 0, 0, 0, 6, 64]);
        icmp.extend(Ipv6Addr::LOCALHOST.octets());
        icmp.extend(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 5).octets());
        icmp.extend(40_000u16.to_be_bytes());
        icmp.extend(8080u16.to_be_bytes());
        let error = v6(&icmp, 5).unwrap();
        assert_eq!(error.says, IcmpSays::TooBig { mtu: 1280 });
        assert_eq!(error.remote, "[fd00::5]:8080".parse().unwrap());
        assert_eq!(error.local, "[::1]:40000".parse().unwrap());
        for len in 0..icmp.len() {
            assert_eq!(v6(&icmp[..len], 5), None, "{len}");
        }
    }
}
