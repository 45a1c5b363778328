//! The machines that packages are made for.

use std::env::consts;

use super::elf::Glibc;

/// A machine, and what each packager calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Target {
    /// Intel and AMD, 64 bits
    #[value(name = "x86_64")]
    X86_64,
    /// Arm, 64 bits
    #[value(name = "aarch64")]
    Aarch64,
}

/// The oldest C library that packages are linked for: the one of RHEL 7, which is also the oldest
/// that Rust's standard library takes. Every distribution whose kernel can be traced has a newer one.
pub const OLDEST_GLIBC: Glibc = Glibc::new(2, 17);

impl Target {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::X86_64, Self::Aarch64];

    /// This machine's, unless it is of a kind that no packages are made for.
    pub fn host() -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|target| target.architecture() == consts::ARCH)
    }

    /// The compiler's and the rpm's name of the architecture.
    pub const fn architecture(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        }
    }

    /// The compiler's name.
    pub const fn triple(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64-unknown-linux-gnu",
            Self::Aarch64 => "aarch64-unknown-linux-gnu",
        }
    }

    /// Debian's name.
    pub const fn debian(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::Aarch64 => "arm64",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for target in Target::ALL {
            assert!(target.triple().starts_with(target.architecture()));
        }
        assert_eq!(Target::Aarch64.debian(), "arm64");
        assert!(Target::host().is_none_or(|host| host.architecture() == consts::ARCH));
    }
}
