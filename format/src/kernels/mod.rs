//! The inner loops of the encodings, compiled for several instruction sets and chosen at run time.
//!
//! * [`level`] – which instruction sets there are, and the switch that forces portable code;
//! * [`bitpack`] – FastLanes packing and unpacking of 1,024 values;
//! * [`bits`] – bits of masks;
//! * [`widen`] – from unpacked offsets to values of the output's type, and back;
//! * [`compare`] – ranges of values to bits; [`compress`] – values whose bits are set;
//! * [`prefetch`] – a hint to the processor;
//! * [`gather`] – codes to values; [`prefix`] – differences to values;
//! * [`extent`] – smallest and largest value; [`sums`] – sums by group;
//! * [`views`] – strings to Arrow views; [`symbols`] – codes to pieces of strings;
//! * [`which`] – values to positions among a few;
//! * [`alp`] – floats that were decimals; [`total_order`] – floats to bits.
//!
//! Every kernel is one plain loop, `inline(always)` into functions that differ only in the instructions they may use, so the
//! portable code *is* the reference. Results do not depend on the level.

pub mod alp;
pub mod bitpack;
pub mod bits;
pub mod compare;
pub mod compress;
pub mod extent;
pub mod gather;
pub mod level;
pub mod prefetch;
pub mod prefix;
pub mod sums;
pub mod symbols;
pub mod total_order;
pub mod views;
pub mod which;
pub mod widen;

pub use level::Level;

/// Defines a kernel: a function whose body is compiled once for each [`Level`] and that takes the level first.
macro_rules! leveled {
    ($(#[$meta:meta])* $vis:vis fn $name:ident<$($g:ident: $bound:path),*>($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block) => {
        $(#[$meta])*
        $vis fn $name<$($g: $bound),*>(level: $crate::kernels::Level, $($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            fn portable<$($g: $bound),*>($($arg: $ty),*) $(-> $ret)? $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx2,bmi1,bmi2,lzcnt,popcnt")]
                fn avx512<$($g: $bound),*>($($arg: $ty),*) $(-> $ret)? { portable::<$($g),*>($($arg),*) }
                #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
                fn avx2<$($g: $bound),*>($($arg: $ty),*) $(-> $ret)? { portable::<$($g),*>($($arg),*) }

                match level.isa() {
                    // SAFETY: a level above portable is only made where the processor has its instructions.
                    $crate::kernels::level::Isa::Avx512 => return unsafe { avx512::<$($g),*>($($arg),*) },
                    // SAFETY: as above.
                    $crate::kernels::level::Isa::Avx2 => return unsafe { avx2::<$($g),*>($($arg),*) },
                    $crate::kernels::level::Isa::Portable => {}
                }
            }
            #[cfg(not(target_arch = "x86_64"))]
            let _ = level;
            portable::<$($g),*>($($arg),*)
        }
    };
}
use leveled;
