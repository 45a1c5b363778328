//! Walks the kernel's type information (BTF) for names: no more than a look-up needs, and total on
//! any bytes. Format: `Documentation/bpf/btf.rst` and `include/uapi/linux/btf.h` of the kernel.
//!
//! Written here because the crate made for it (btf-rs) is under the LGPL, which a statically linked
//! program under MIT OR Apache-2.0 should not take in for a hundred lines.

use bytes::Buf;
use thiserror::Error;

const MAGIC: u16 = 0xeb9f;
const HEADER_LEN: usize = 24;
/// `BTF_KIND_STRUCT`.
pub const KIND_STRUCT: u32 = 4;
/// `BTF_KIND_UNION`.
pub const KIND_UNION: u32 = 5;
const KIND_ENUM: u32 = 6;
/// `BTF_KIND_FUNC_PROTO`.
pub const KIND_FUNC_PROTO: u32 = 13;

/// The bytes are not BTF, or of a kind that is not known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BtfError {
    /// Too short, or another magic number or byte order.
    #[error("not BTF of this machine's byte order")]
    NotBtf,
    /// A section or a type reaches beyond the end.
    #[error("cut short at byte {at}")]
    Short {
        /// Offset in the file.
        at: usize,
    },
    /// A newer kernel's type kind.
    #[error("unknown type kind {kind} at byte {at}")]
    Kind {
        /// Its number.
        kind: u32,
        /// Offset in the file.
        at: usize,
    },
}

/// What a type is, as far as anybody asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TypeKind {
    /// `typedef`.
    Typedef,
    /// A function.
    Func,
    /// `enum` with 32-bit values.
    Enum,
    /// Anything else.
    Other,
}

/// One type of the walk.
pub struct Type<'a> {
    /// What it is.
    pub kind: TypeKind,
    /// Its name, empty for an anonymous type.
    pub name: &'a [u8],
    /// `BTF_KIND_*`.
    pub raw_kind: u32,
    /// The type it refers to, or its size in bytes, as the kind has it.
    pub size_or_type: u32,
    /// Number of members, constants or parameters.
    pub vlen: u32,
    /// Do member offsets carry a bit-field size in their upper byte?
    kind_flag: bool,
    members: &'a [u8],
    strings: &'a [u8],
}

/// A member of a structure or union.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member<'a> {
    /// Its name, empty for an anonymous structure or union.
    pub name: &'a [u8],
    /// Its type.
    pub type_id: u32,
    /// Where it begins, in bits.
    pub bit_offset: u32,
}

impl<'a> Type<'a> {
    /// Members of a structure or union; none for any other type.
    pub fn struct_members(&self) -> impl Iterator<Item = Member<'a>> + use<'a> {
        let members = match self.raw_kind {
            KIND_STRUCT | KIND_UNION => self.members,
            _ => &[],
        };
        let (strings, kind_flag) = (self.strings, self.kind_flag);
        members.chunks_exact(12).map(move |mut member| {
            let name = string(strings, member.get_u32_ne());
            let type_id = member.get_u32_ne();
            let offset = member.get_u32_ne();
            let bit_offset = if kind_flag {
                offset & 0x00ff_ffff
            } else {
                offset
            };
            Member {
                name,
                type_id,
                bit_offset,
            }
        })
    }

    /// Names of the parameters of a function's prototype; none for any other type.
    pub fn parameters(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let parameters = match self.raw_kind {
            KIND_FUNC_PROTO => self.members,
            _ => &[],
        };
        let strings = self.strings;
        parameters
            .chunks_exact(8)
            .map(move |mut parameter| string(strings, parameter.get_u32_ne()))
    }

    /// Name and value of every constant of an enum; empty for any other type.
    pub fn constants(&self) -> Vec<(&'a [u8], u32)> {
        if self.kind != TypeKind::Enum {
            return Vec::new();
        }
        self.members
            .chunks_exact(8)
            .map(|mut member| {
                let name = member.get_u32_ne();
                (string(self.strings, name), member.get_u32_ne())
            })
            .collect()
    }
}

/// Calls `visit` for every type, in the order of the file.
pub fn walk<'a>(btf: &'a [u8], mut visit: impl FnMut(Type<'a>)) -> Result<(), BtfError> {
    let mut header = btf.get(..HEADER_LEN).ok_or(BtfError::NotBtf)?;
    if header.get_u16_ne() != MAGIC {
        return Err(BtfError::NotBtf);
    }
    header.advance(2);
    let start = header.get_u32_ne() as usize;
    let mut section = || {
        let from = start.saturating_add(header.get_u32_ne() as usize);
        let to = from.saturating_add(header.get_u32_ne() as usize);
        let bytes = btf.get(from..to).ok_or(BtfError::Short { at: btf.len() })?;
        Ok((from, bytes))
    };
    let (types_at, mut types) = section()?;
    let (_, strings) = section()?;
    let end = types_at + types.len();

    while !types.is_empty() {
        let at = end - types.len();
        if types.len() < 12 {
            return Err(BtfError::Short { at });
        }
        let name = types.get_u32_ne();
        let info = types.get_u32_ne();
        let size_or_type = types.get_u32_ne();
        let kind = (info >> 24) & 0x1f;
        let len = members_len(kind, (info & 0xffff) as usize).ok_or(BtfError::Kind { kind, at })?;
        let (members, rest) = types.split_at_checked(len).ok_or(BtfError::Short { at })?;
        types = rest;
        visit(Type {
            kind: match kind {
                KIND_ENUM => TypeKind::Enum,
                8 => TypeKind::Typedef,
                12 => TypeKind::Func,
                _ => TypeKind::Other,
            },
            name: string(strings, name),
            raw_kind: kind,
            size_or_type,
            vlen: info & 0xffff,
            kind_flag: info >> 31 != 0,
            members,
            strings,
        });
    }
    Ok(())
}

/// Bytes that follow a type of this kind with `vlen` members.
fn members_len(kind: u32, vlen: usize) -> Option<usize> {
    Some(match kind {
        // INT, VAR, DECL_TAG
        1 | 14 | 17 => 4,
        // PTR, FWD, TYPEDEF, VOLATILE, CONST, RESTRICT, FUNC, FLOAT, TYPE_TAG
        2 | 7..=12 | 16 | 18 => 0,
        // ARRAY
        3 => 12,
        // STRUCT, UNION, DATASEC, ENUM64
        4 | 5 | 15 | 19 => vlen * 12,
        // ENUM, FUNC_PROTO
        KIND_ENUM | KIND_FUNC_PROTO => vlen * 8,
        _ => return None,
    })
}

/// The NUL-terminated string at `offset`; empty if there is none.
fn string(strings: &[u8], offset: u32) -> &[u8] {
    let rest = strings.get(offset as usize..).unwrap_or_default();
    rest.split(|&byte| byte == 0).next().unwrap_or_default()
}

/// BTF made by hand, for tests.
#[cfg(test)]
pub(super) mod fake {
    /// A file with the typedefs, functions, and one enum with its constants.
    pub(in super::super) fn btf(
        typedefs: &[&str],
        functions: &[&str],
        (name, constants): (&str, &[(&str, u32)]),
    ) -> Vec<u8> {
        let mut strings = vec![0u8];
        let mut types = Vec::new();
        let mut add = |text: &str| {
            let at = strings.len() as u32;
            strings.extend(text.bytes());
            strings.push(0);
            at
        };
        let mut put = |words: &[u32]| {
            for word in words {
                types.extend(word.to_ne_bytes());
            }
        };
        put(&[add("int"), 1 << 24, 4, 32]);
        for typedef in typedefs {
            put(&[add(typedef), 8 << 24, 1]);
        }
        for function in functions {
            put(&[add(function), 12 << 24, 1]);
        }
        put(&[add(name), 6 << 24 | constants.len() as u32, 4]);
        for (constant, value) in constants {
            put(&[add(constant), *value]);
        }
        let mut file = Vec::new();
        file.extend(0xeb9f_u16.to_ne_bytes());
        file.extend([1, 0]);
        for word in [
            24,
            0,
            types.len() as u32,
            types.len() as u32,
            strings.len() as u32,
        ] {
            file.extend(word.to_ne_bytes());
        }
        file.extend(types);
        file.extend(strings);
        file
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        fake::btf(
            &["btf_trace_a"],
            &["bpf_iter_tcp"],
            ("reason", &[("R_ONE", 1), ("R_BIG", 0xffff_ffff)]),
        )
    }

    #[test]
    fn names_kinds_and_constants() {
        let file = sample();
        let mut seen = Vec::new();
        walk(&file, |ty| {
            seen.push((ty.kind, ty.name.to_vec(), ty.constants()));
        })
        .unwrap();
        assert_eq!(
            seen,
            [
                (TypeKind::Other, b"int".to_vec(), vec![]),
                (TypeKind::Typedef, b"btf_trace_a".to_vec(), vec![]),
                (TypeKind::Func, b"bpf_iter_tcp".to_vec(), vec![]),
                (
                    TypeKind::Enum,
                    b"reason".to_vec(),
                    vec![(&b"R_ONE"[..], 1), (b"R_BIG", 0xffff_ffff)]
                ),
            ]
        );
    }

    #[test]
    fn any_bytes_give_an_answer() {
        let file = sample();
        for cut in 0..file.len() {
            assert!(walk(&file[..cut], |_| ()).is_err(), "cut at {cut}");
        }
        for at in 0..file.len() {
            for value in [0, 0x7f, 0xff] {
                let mut damaged = file.clone();
                damaged[at] = value;
                let mut sum = 0;
                let _ = walk(&damaged, |ty| sum += ty.constants().len() + ty.name.len());
            }
        }
        assert_eq!(walk(b"\x7fELF", |_| ()), Err(BtfError::NotBtf));
    }

    #[test]
    fn an_unknown_kind_is_named() {
        let mut file = sample();
        // The second type (16 bytes after the first, 24 after the header): kind byte of its info.
        file[24 + 16 + 7] = 31;
        assert_eq!(
            walk(&file, |_| ()),
            Err(BtfError::Kind { kind: 31, at: 40 })
        );
    }
}
