use super::{Describe, Dispatch, Operand, Step, Tensor, Variant, read, words, write};
use crate::cpu::{Memory, Real, Twin, product};

/// Which of the two factors of a product is transposed.
///
/// ```text
/// AB    out[i, j] = Σₖ a[i, k] · b[k, j]     the gradient of a layer's input: dy · weight
/// ABt   out[i, j] = Σₖ a[i, k] · b[j, k]     forward: x · weightᵀ, weight [outputs, inputs]
/// AtB   out[i, j] = Σₖ a[k, i] · b[k, j]     the gradient of a weight: dyᵀ · x
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    AB,
    ABt,
    AtB,
}

/// A product of matrices, with a bias added to every row where there is one.
#[derive(Clone, Debug)]
pub struct MatMul {
    pub product: Product,
    pub a: Tensor,
    pub b: Tensor,
    /// `[M, 1, columns of out]`, in the same space as `b`.
    pub bias: Option<Tensor>,
    pub out: Tensor,
}

impl MatMul {
    /// The length of the sums.
    fn depth(&self) -> usize {
        if self.product == Product::AtB { self.a.rows } else { self.a.cols }
    }
}

impl<T: Real> Twin<T, 1> for MatMul {
    fn outputs(&self) -> [Tensor; 1] {
        [self.out]
    }

    #[inline(always)]
    fn write(&self, [out]: [&mut [T]; 1], memory: &Memory<T>, step: &Step) {
        for model in 0..self.out.models {
            let out = &mut out[self.out.at(model, 0, step.slot as usize)..];
            if let Some(bias) = self.bias {
                let bias = memory.row(bias, model, 0);
                for row in out.chunks_mut(self.out.ld()).take(self.out.rows) {
                    row[..self.out.cols].copy_from_slice(bias);
                }
            }
            let (a, b) = (memory.matrix(self.a, model), memory.matrix(self.b, model));
            let (lda, ldb) = (self.a.ld(), self.b.ld());
            // Strides (row, column) of the factors as they are multiplied.
            let (a_strides, b_strides) = match self.product {
                Product::AB => ((lda, 1), (ldb, 1)),
                Product::ABt => ((lda, 1), (1, ldb)),
                Product::AtB => ((1, lda), (ldb, 1)),
            };
            let size = [self.out.rows, self.depth(), self.out.cols];
            product(size, (a, a_strides), (b, b_strides), (out, self.out.ld()), self.bias.is_some());
        }
    }
}

impl Describe for MatMul {
    fn operands(&self) -> Vec<Operand> {
        // Without a bias its binding holds b again, unread.
        vec![
            read("a", self.a),
            read("b", self.b),
            write("out", self.out),
            read("bias", self.bias.unwrap_or(Tensor { rows: 0, ..self.b })),
        ]
    }

    fn flops(&self) -> u64 {
        2 * self.out.elements() * self.depth() as u64
    }

    fn dispatch(&self, variant: Variant) -> Dispatch {
        // Rows and columns of out to a workgroup.
        let (shader, block_rows, block_cols, constants) = match variant {
            Variant::Gpu => ("matmul", 32, 32, vec![("BLOCK", 32.0), ("DEPTH", 16.0)]),
            Variant::Software => {
                // Eight invocations run as one vector: below one another where out is narrow.
                let across = self.out.cols.div_ceil(16).next_power_of_two().min(8);
                let down = 8 / across;
                let constants = vec![("ACROSS", across as f64), ("DOWN", down as f64)];
                ("matmul_direct", 8 * down, 16 * across, constants)
            }
        };
        let sizes = [self.out.rows, self.depth(), self.out.cols, self.bias.is_some() as usize];
        let views = [self.a, self.b, self.bias.unwrap_or(self.b), self.out];
        Dispatch {
            shader,
            entry: match self.product {
                Product::AB => "ab",
                Product::ABt => "abt",
                Product::AtB => "atb",
            },
            constants,
            params: words(&views, &sizes.map(|size| size as u32)),
            workgroups: [
                self.out.cols.div_ceil(block_cols) as u32,
                self.out.rows.div_ceil(block_rows) as u32,
                self.out.models as u32,
            ],
        }
    }

    fn shapes(&self) -> String {
        let (a, b) = (self.a, self.b);
        let of = |t: Tensor, transposed| {
            if transposed {
                format!("({}×{})ᵀ", t.rows, t.cols)
            } else {
                format!("{}×{}", t.rows, t.cols)
            }
        };
        let product =
            format!("{} · {}", of(a, self.product == Product::AtB), of(b, self.product == Product::ABt));
        format!(
            "{product}{} → {}×{}",
            if self.bias.is_some() { " + bias" } else { "" },
            self.out.rows,
            self.out.cols
        )
    }
}
