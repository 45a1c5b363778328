//! Offsets of kernel structure members, from the running kernel's BTF. A member that this kernel
//! does not have is [`ABSENT`]; nothing is guessed.

use thiserror::Error;
use tracer_ebpf::{ABSENT, Offsets};

use super::features::btf::{
    BtfError, KIND_FUNC_PROTO, KIND_STRUCT, KIND_UNION, Member, Type, TypeKind, walk,
};

/// Kinds that only name or qualify another type: TYPEDEF, VOLATILE, CONST, RESTRICT, TYPE_TAG.
const MODIFIERS: [u32; 5] = [8, 9, 10, 11, 18];
const KIND_PTR: u32 = 2;
/// Anonymous structures inside each other; the kernel has two or three.
const MAX_DEPTH: u32 = 8;

/// The kernel lacks what a capture cannot do without.
#[derive(Debug, Error)]
pub enum OffsetsError {
    /// No usable BTF.
    #[error("the kernel's type information cannot be used: {0}")]
    Btf(#[from] BtfError),
    /// A structure member that every known kernel has is not there.
    #[error("this kernel's {structure} has no member {member}")]
    Missing {
        /// Structure.
        structure: &'static str,
        /// Member.
        member: &'static str,
    },
}

/// All types of a BTF file, by id.
pub struct Layout<'a> {
    types: Vec<Type<'a>>,
}

impl<'a> Layout<'a> {
    /// From the bytes of the file.
    pub fn read(btf: &'a [u8]) -> Result<Self, BtfError> {
        let mut types = Vec::new();
        walk(btf, |ty| types.push(ty))?;
        Ok(Self { types })
    }

    /// In the order of the file; ids begin with 1.
    pub fn types(&self) -> &[Type<'a>] {
        &self.types
    }

    /// Type ids begin with 1; 0 is `void`.
    fn by_id(&self, id: u32) -> Option<&Type<'a>> {
        self.types.get((id as usize).checked_sub(1)?)
    }

    /// The type behind typedefs and qualifiers.
    fn strip(&self, mut id: u32) -> Option<&Type<'a>> {
        for _ in 0..16 {
            let ty = self.by_id(id)?;
            if !MODIFIERS.contains(&ty.raw_kind) {
                return Some(ty);
            }
            id = ty.size_or_type;
        }
        None
    }

    fn structure(&self, name: &str) -> Option<&Type<'a>> {
        self.types
            .iter()
            .find(|ty| ty.raw_kind == KIND_STRUCT && ty.name == name.as_bytes())
    }

    fn has_function(&self, name: &str) -> bool {
        self.types
            .iter()
            .any(|ty| ty.kind == TypeKind::Func && ty.name == name.as_bytes())
    }

    /// Byte offset of `path` (`a.b.c`) in a structure; anonymous members are looked through.
    /// Bit-fields have none.
    fn offset(&self, structure: &str, path: &str) -> Option<u32> {
        let mut ty = self.structure(structure)?;
        let mut bits = 0;
        for name in path.split('.') {
            let (member, at) = self.member(ty, name.as_bytes(), 0)?;
            bits += at;
            // The last component may be of any kind: then there is nothing to descend into.
            ty = self.strip(member.type_id).unwrap_or(ty);
        }
        (bits % 8 == 0).then_some(bits / 8)
    }

    fn member(&self, ty: &Type<'a>, name: &[u8], depth: u32) -> Option<(Member<'a>, u32)> {
        if depth > MAX_DEPTH {
            return None;
        }
        for member in ty.struct_members() {
            if member.name == name {
                return Some((member, member.bit_offset));
            }
            if member.name.is_empty()
                && let Some(inner) = self.strip(member.type_id)
                && matches!(inner.raw_kind, KIND_STRUCT | KIND_UNION)
                && let Some((found, at)) = self.member(inner, name, depth + 1)
            {
                return Some((found, member.bit_offset + at));
            }
        }
        None
    }

    /// Arguments of a tracepoint, without the hidden first one (`void *__data`).
    fn tracepoint_args(&self, name: &str) -> Option<u32> {
        let typedef = format!("btf_trace_{name}");
        let ty = self
            .types
            .iter()
            .find(|ty| ty.raw_kind == 8 && ty.name == typedef.as_bytes())?;
        let pointer = self.strip(ty.size_or_type)?;
        if pointer.raw_kind != KIND_PTR {
            return None;
        }
        let proto = self.by_id(pointer.size_or_type)?;
        (proto.raw_kind == KIND_FUNC_PROTO).then(|| proto.vlen.saturating_sub(1))
    }
}

/// How the programs get at a thread's saved registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registers {
    /// By the helper `bpf_task_pt_regs`.
    Helper,
    /// From the thread's kernel stack.
    Stack {
        /// Offset of `stack` in `struct task_struct`.
        task_stack: u32,
        /// Offset of the registers in the stack.
        at: u32,
    },
    /// Not at all.
    Unknown,
}

impl Registers {
    /// The name in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Helper => "helper",
            Self::Stack { .. } => "stack",
            Self::Unknown => "none",
        }
    }

    /// `typed`: the kernel knows its types itself, which the helper needs.
    pub fn of(layout: &Layout<'_>, typed: bool) -> Self {
        if typed && layout.has_function("bpf_task_pt_regs") {
            return Self::Helper;
        }
        match (
            layout.offset("task_struct", "stack"),
            layout.structure("pt_regs"),
            stack_size(),
        ) {
            (Some(task_stack), Some(regs), Some(size)) => {
                // CONFIG_X86_FRED puts as many bytes above the registers:
                // <https://github.com/torvalds/linux/blob/v6.18/arch/x86/include/asm/thread_info.h>,
                // `TOP_OF_KERNEL_STACK_PADDING`.
                let padding = layout.structure("fred_info").map_or(0, |_| 16);
                Self::Stack {
                    task_stack,
                    at: size - padding - regs.size_or_type,
                }
            }
            _ => Self::Unknown,
        }
    }
}

/// Bytes of a thread's kernel stack, which no type tells: 16 KiB, and a page where pages are larger.
/// <https://github.com/torvalds/linux/blob/v5.10/arch/x86/include/asm/page_64_types.h>,
/// <https://github.com/torvalds/linux/blob/v5.10/arch/arm64/include/asm/memory.h>.
/// A kernel built for debugging has larger ones; the programs check what they read there.
fn stack_size() -> Option<u32> {
    cfg!(any(target_arch = "x86_64", target_arch = "aarch64"))
        .then(|| (rustix::param::page_size() as u32).max(16 << 10))
}

/// Finds the offsets. `typed`: the kernel knows its types itself.
pub fn offsets(layout: &Layout<'_>, typed: bool) -> Result<Offsets, OffsetsError> {
    let (pt_regs_helper, task_stack, stack_pt_regs) = match Registers::of(layout, typed) {
        Registers::Helper => (0, ABSENT, ABSENT),
        Registers::Stack { task_stack, at } => (ABSENT, task_stack, at),
        Registers::Unknown => (ABSENT, ABSENT, ABSENT),
    };
    let need = |structure: &'static str, member: &'static str| {
        layout
            .offset(structure, member)
            .ok_or(OffsetsError::Missing { structure, member })
    };
    let may = |structure: &str, member: &str| layout.offset(structure, member).unwrap_or(ABSENT);
    Ok(Offsets {
        sock_skc_family: need("sock", "__sk_common.skc_family")?,
        sock_skc_state: need("sock", "__sk_common.skc_state")?,
        sock_skc_num: need("sock", "__sk_common.skc_num")?,
        sock_skc_dport: need("sock", "__sk_common.skc_dport")?,
        sock_skc_daddr: need("sock", "__sk_common.skc_daddr")?,
        sock_skc_rcv_saddr: need("sock", "__sk_common.skc_rcv_saddr")?,
        // Absent in a kernel without IPv6.
        sock_skc_v6_daddr: may("sock", "__sk_common.skc_v6_daddr"),
        sock_skc_v6_rcv_saddr: may("sock", "__sk_common.skc_v6_rcv_saddr"),
        sock_skc_net: may("sock", "__sk_common.skc_net.net"),
        sock_sk_protocol: need("sock", "sk_protocol")?,
        sock_sk_err: need("sock", "sk_err")?,
        sock_sk_err_soft: may("sock", "sk_err_soft"),
        sock_sk_shutdown: may("sock", "sk_shutdown"),
        sock_sk_socket: may("sock", "sk_socket"),
        net_ns_inum: may("net", "ns.inum"),
        inet_sport: may("inet_sock", "inet_sport"),
        tcp_rcv_nxt: may("tcp_sock", "rcv_nxt"),
        tcp_copied_seq: may("tcp_sock", "copied_seq"),
        tcp_snd_una: need("tcp_sock", "snd_una")?,
        tcp_write_seq: need("tcp_sock", "write_seq")?,
        tcp_srtt_us: may("tcp_sock", "srtt_us"),
        tcp_total_retrans: may("tcp_sock", "total_retrans"),
        tcp_mss_cache: may("tcp_sock", "mss_cache"),
        tcp_rcv_ooopack: may("tcp_sock", "rcv_ooopack"),
        tcp_bytes_received: may("tcp_sock", "bytes_received"),
        tcp_bytes_acked: may("tcp_sock", "bytes_acked"),
        tcp_lsndtime: may("tcp_sock", "lsndtime"),
        tcp_first_tx_mstamp: may("tcp_sock", "first_tx_mstamp"),
        icsk_ack_lrcvtime: may("inet_connection_sock", "icsk_ack.lrcvtime"),
        icsk_rto: may("inet_connection_sock", "icsk_rto"),
        icsk_retransmits: may("inet_connection_sock", "icsk_retransmits"),
        icsk_user_timeout: may("inet_connection_sock", "icsk_user_timeout"),
        icsk_pmtu_cookie: may("inet_connection_sock", "icsk_pmtu_cookie"),
        socket_inode_ino: match (
            layout.offset("socket_alloc", "vfs_inode"),
            layout.offset("inode", "i_ino"),
        ) {
            (Some(inode), Some(ino)) => inode + ino,
            _ => ABSENT,
        },
        task_tgid: may("task_struct", "tgid"),
        skb_head: may("sk_buff", "head"),
        skb_transport_header: may("sk_buff", "transport_header"),
        skb_network_header: may("sk_buff", "network_header"),
        skb_cb: may("sk_buff", "cb"),
        sock_sk_max_ack_backlog: may("sock", "sk_max_ack_backlog"),
        task_exit_code: may("task_struct", "exit_code"),
        task_signal: may("task_struct", "signal"),
        signal_live: may("signal_struct", "live"),
        socket_sk: may("socket", "sk"),
        task_stack,
        stack_pt_regs,
        pt_regs_helper,
        oom_task_arg: match layout.tracepoint_args("mark_victim") {
            Some(args) if args >= 2 => 0,
            _ => ABSENT,
        },
        reset_reason_arg: match layout.tracepoint_args("tcp_send_reset") {
            Some(args) if args >= 3 => 2,
            _ => ABSENT,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The running kernel is the best fixture; machines without BTF have nothing to test here.
    #[test]
    fn offsets_of_the_running_kernel_are_plausible() {
        let Ok(btf) = std::fs::read("/sys/kernel/btf/vmlinux") else {
            eprintln!("SKIPPED: this kernel shows no BTF");
            return;
        };
        let found = offsets(&Layout::read(&btf).unwrap(), true).unwrap();
        // struct sock_common begins with the address pair (include/net/sock.h).
        assert_eq!(found.sock_skc_daddr, 0);
        assert_eq!(found.sock_skc_rcv_saddr, 4);
        assert_eq!(found.sock_skc_dport, 12);
        assert_eq!(found.sock_skc_num, 14);
        assert_eq!(found.sock_skc_family, 16);
        assert!(found.tcp_snd_una > found.sock_sk_err);
        assert_ne!(found.tcp_bytes_received, ABSENT);
        assert_ne!(found.socket_sk, ABSENT);
    }

    #[test]
    fn registers_are_found_in_one_way_at_most() {
        let Ok(btf) = std::fs::read("/sys/kernel/btf/vmlinux") else {
            eprintln!("SKIPPED: this kernel shows no BTF");
            return;
        };
        let layout = Layout::read(&btf).unwrap();
        let helper = offsets(&layout, true).unwrap();
        if helper.pt_regs_helper == 0 {
            assert_eq!((helper.task_stack, helper.stack_pt_regs), (ABSENT, ABSENT));
        }
        // As if the kernel did not know its types.
        let stack = offsets(&layout, false).unwrap();
        assert_eq!(stack.pt_regs_helper, ABSENT);
        if stack_size().is_some() {
            assert_ne!(stack.task_stack, ABSENT);
            assert!(stack.stack_pt_regs < stack_size().unwrap());
        }
    }

    #[test]
    fn garbage_is_refused() {
        assert!(Layout::read(b"not btf").is_err());
    }
}
