use num_traits::Float;
use pulp::Simd;

/// A real that fills the lanes of the processor's vectors: what the product is written with, for any of them.
pub trait Lanes: Float + bytemuck::Pod {
    /// As many values as a vector of the processor holds.
    type Vector<S: Simd>: bytemuck::Pod;

    /// The whole vectors of a slice, and what is left.
    fn vectors<S: Simd>(slice: &[Self]) -> (&[Self::Vector<S>], &[Self]);
    /// The whole vectors of a slice to be overwritten, and what is left.
    fn vectors_mut<S: Simd>(slice: &mut [Self]) -> (&mut [Self::Vector<S>], &mut [Self]);
    /// The value in every lane.
    fn splat<S: Simd>(simd: S, value: Self) -> Self::Vector<S>;
    /// `a · b + c`, fused where the processor can.
    fn fused<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>, c: Self::Vector<S>)
    -> Self::Vector<S>;
    /// `a + b`.
    fn plus<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;
    /// `a − b`.
    fn minus<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;
    /// `a · b`.
    fn times<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;
    /// The sum of the lanes.
    fn total<S: Simd>(simd: S, a: Self::Vector<S>) -> Self;
    /// At most a vector of values; zeros where there are fewer.
    fn load<S: Simd>(simd: S, slice: &[Self]) -> Self::Vector<S>;
    /// Overwrites at most a vector of values.
    fn store<S: Simd>(simd: S, slice: &mut [Self], value: Self::Vector<S>);
}

macro_rules! lanes {
    ($real:ty, $vector:ident, $vectors:ident, $vectors_mut:ident, $splat:ident, $fused:ident, $plus:ident, $minus:ident, $times:ident, $total:ident, $load:ident, $store:ident) => {
        impl Lanes for $real {
            type Vector<S: Simd> = S::$vector;

            #[inline(always)]
            fn vectors<S: Simd>(slice: &[$real]) -> (&[S::$vector], &[$real]) {
                S::$vectors(slice)
            }
            #[inline(always)]
            fn vectors_mut<S: Simd>(slice: &mut [$real]) -> (&mut [S::$vector], &mut [$real]) {
                S::$vectors_mut(slice)
            }
            #[inline(always)]
            fn splat<S: Simd>(simd: S, value: $real) -> S::$vector {
                simd.$splat(value)
            }
            #[inline(always)]
            fn fused<S: Simd>(simd: S, a: S::$vector, b: S::$vector, c: S::$vector) -> S::$vector {
                simd.$fused(a, b, c)
            }
            #[inline(always)]
            fn plus<S: Simd>(simd: S, a: S::$vector, b: S::$vector) -> S::$vector {
                simd.$plus(a, b)
            }
            #[inline(always)]
            fn minus<S: Simd>(simd: S, a: S::$vector, b: S::$vector) -> S::$vector {
                simd.$minus(a, b)
            }
            #[inline(always)]
            fn times<S: Simd>(simd: S, a: S::$vector, b: S::$vector) -> S::$vector {
                simd.$times(a, b)
            }
            #[inline(always)]
            fn total<S: Simd>(simd: S, a: S::$vector) -> $real {
                simd.$total(a)
            }
            #[inline(always)]
            fn load<S: Simd>(simd: S, slice: &[$real]) -> S::$vector {
                if let ([whole], _) = S::$vectors(slice) { *whole } else { simd.$load(slice) }
            }
            #[inline(always)]
            fn store<S: Simd>(simd: S, slice: &mut [$real], value: S::$vector) {
                if let ([whole], _) = S::$vectors_mut(slice) {
                    *whole = value
                } else {
                    simd.$store(slice, value)
                }
            }
        }
    };
}

lanes!(
    f32,
    f32s,
    as_simd_f32s,
    as_mut_simd_f32s,
    splat_f32s,
    mul_add_e_f32s,
    add_f32s,
    sub_f32s,
    mul_f32s,
    reduce_sum_f32s,
    partial_load_f32s,
    partial_store_f32s
);
lanes!(
    f64,
    f64s,
    as_simd_f64s,
    as_mut_simd_f64s,
    splat_f64s,
    mul_add_e_f64s,
    add_f64s,
    sub_f64s,
    mul_f64s,
    reduce_sum_f64s,
    partial_load_f64s,
    partial_store_f64s
);
