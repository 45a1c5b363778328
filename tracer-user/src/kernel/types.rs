//! Where the running kernel's types are described (BTF).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where the kernel shows its type information.
pub const BTF_PATH: &str = "/sys/kernel/btf/vmlinux";

/// Whose description of the types is used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TypeSource {
    /// The running kernel's own.
    #[default]
    Kernel,
    /// A file made for a kernel that shows none, of that very build.
    File(PathBuf),
}

impl TypeSource {
    /// The file to read.
    pub fn path(&self) -> &Path {
        match self {
            Self::Kernel => Path::new(BTF_PATH),
            Self::File(path) => path,
        }
    }

    /// Its bytes.
    pub fn read(&self) -> io::Result<Vec<u8>> {
        fs::read(self.path())
    }

    /// Does the kernel itself know its types? Only then programs can be attached by them (`fentry`,
    /// `fexit`, iterators) and helpers give typed pointers.
    pub fn is_kernels(&self) -> bool {
        *self == Self::Kernel
    }
}
