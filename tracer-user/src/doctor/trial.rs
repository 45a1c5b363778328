//! Asks the kernel to take a program that does nothing. Capabilities and lists of features say what
//! should be allowed; only this says that nothing else (seccomp, a security module) forbids it.

use aya::programs::ProgramType;
use aya::sys::is_program_supported;

use crate::kernel::rights::{Capability, Rights};

/// `None` when the rights for it are missing anyway. The program is gone when this returns.
pub(super) fn load(rights: &Rights) -> Option<Result<(), String>> {
    let allowed = rights.has(Capability::SysAdmin)
        || rights.has(Capability::Bpf) && rights.has(Capability::Perfmon);
    allowed.then(|| match is_program_supported(ProgramType::RawTracePoint) {
        Ok(true) => Ok(()),
        Ok(false) => Err("it does not know raw tracepoint programs".to_owned()),
        Err(error) => Err(in_full(&error)),
    })
}

pub(super) fn in_full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(&format!(": {inner}"));
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_rights_nothing_is_tried() {
        let mut rights = Rights::read();
        rights.effective = Some(0);
        assert_eq!(load(&rights), None);
    }
}
