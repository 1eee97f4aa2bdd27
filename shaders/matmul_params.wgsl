// Before the kernels of products alone: what they are given.

struct Params { a: View, b: View, extra: View, out: View, beside: View, rows: u32, depth: u32, cols: u32 }
