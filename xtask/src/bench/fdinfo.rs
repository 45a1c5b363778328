//! What `/proc/PID/fdinfo` says of BPF programs and maps.

/// The number behind a name (`memlock:`); `None` if there is no such line.
///
/// `bpf_prog_show_fdinfo` and `bpf_map_show_fdinfo` in
/// <https://github.com/torvalds/linux/blob/v6.18/kernel/bpf/syscall.c>.
pub(super) fn number(fdinfo: &str, name: &str) -> Option<u64> {
    let line = fdinfo.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        let map = "pos:\t0\nmap_type:\t1\nmemlock:\t4096\nflags:\t0x1\n";
        assert_eq!(number(map, "memlock:"), Some(4096));
        assert_eq!(number(map, "run_cnt:"), None);
        assert_eq!(number(map, "flags:"), None);
    }
}
