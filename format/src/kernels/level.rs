//! Which instructions kernels may use.

use std::sync::atomic::{AtomicU8, Ordering};

/// An instruction set that kernels are compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Isa {
    /// What every processor of the target has: SSE2 on x86-64, NEON on aarch64.
    Portable = 1,
    /// AVX2, BMI, LZCNT.
    #[cfg(target_arch = "x86_64")]
    Avx2 = 2,
    /// AVX-512 F, BW, CD, DQ and VL.
    #[cfg(target_arch = "x86_64")]
    Avx512 = 3,
}

/// The instructions a kernel may use. One that this processor does not have can't be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Level(Isa);

/// 0 until first asked; then an [`Isa`].
static CURRENT: AtomicU8 = AtomicU8::new(0);

/// The environment variable that, set to anything but `0`, forces portable code.
pub const PORTABLE_VARIABLE: &str = "DELTALITE_PORTABLE";

impl Level {
    /// Code that runs everywhere.
    pub const PORTABLE: Self = Self(Isa::Portable);

    /// The level in force: the best of this processor, unless portable code is forced.
    #[inline]
    pub fn current() -> Self {
        match CURRENT.load(Ordering::Relaxed) {
            0 => Self::decide(),
            #[cfg(target_arch = "x86_64")]
            3 => Self(Isa::Avx512),
            #[cfg(target_arch = "x86_64")]
            2 => Self(Isa::Avx2),
            _ => Self::PORTABLE,
        }
    }

    #[cold]
    fn decide() -> Self {
        let forced = std::env::var_os(PORTABLE_VARIABLE).is_some_and(|v| !v.is_empty() && v != "0");
        let level = if forced { Self::PORTABLE } else { Self::best() };
        CURRENT.store(level.0 as u8, Ordering::Relaxed);
        level
    }

    /// The best level of this processor.
    pub fn best() -> Self {
        *Self::available().last().unwrap_or(&Self::PORTABLE)
    }

    /// Every level of this processor, portable first.
    pub fn available() -> Vec<Self> {
        #[allow(unused_mut)]
        let mut levels = vec![Self::PORTABLE];
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2")
            && std::arch::is_x86_feature_detected!("bmi1")
            && std::arch::is_x86_feature_detected!("bmi2")
            && std::arch::is_x86_feature_detected!("lzcnt")
            && std::arch::is_x86_feature_detected!("popcnt")
        {
            levels.push(Self(Isa::Avx2));
            if std::arch::is_x86_feature_detected!("avx512f")
                && std::arch::is_x86_feature_detected!("avx512bw")
                && std::arch::is_x86_feature_detected!("avx512cd")
                && std::arch::is_x86_feature_detected!("avx512dq")
                && std::arch::is_x86_feature_detected!("avx512vl")
            {
                levels.push(Self(Isa::Avx512));
            }
        }
        levels
    }

    /// Forces portable code for the whole process from now on, or, with `false`, goes back to the best there is.
    pub fn force_portable(portable: bool) {
        let level = if portable { Self::PORTABLE } else { Self::best() };
        CURRENT.store(level.0 as u8, Ordering::Relaxed);
    }

    /// A name for people: `portable`, `avx2`, `avx512`.
    pub fn name(self) -> &'static str {
        match self.0 {
            Isa::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => "avx512",
        }
    }

    /// Whether bytes of AVX-512 registers can be looked up and moved together (VBMI and VBMI2, since Ice Lake and Zen 4).
    #[cfg(target_arch = "x86_64")]
    #[inline]
    pub(crate) fn has_vbmi2(self) -> bool {
        self.0 == Isa::Avx512
            && std::arch::is_x86_feature_detected!("avx512vbmi")
            && std::arch::is_x86_feature_detected!("avx512vbmi2")
    }

    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    #[inline(always)]
    pub(crate) fn isa(self) -> Isa {
        self.0
    }
}
