// Before the kernels that update every parameter of every model. Weights come first in the buffer.

@group(1) @binding(0) var<uniform> p: Params;
@group(1) @binding(1) var<storage, read> hyper: array<vec4f>;
@group(1) @binding(2) var<storage, read> grads: array<vec4f>;
@group(1) @binding(3) var<storage, read_write> params: array<vec4f>;
@group(1) @binding(4) var<storage, read_write> moment1: array<vec4f>;
@group(1) @binding(5) var<storage, read_write> moment2: array<vec4f>;

// A workgroup's part of them, of so many.
fn update_all(m: u32, lane: u32, part: u32, parts: u32) {
    let theta = at(p.theta, m, 0u, 0u);
    let share = share(p.theta.ld, LANES, part, parts);
    let h = hyper[model(m)];
    let lr_factor = current.lr_factor;
    let decayed = p.decayed;
    for (var i = share.first + lane; i < share.end; i += LANES) {
        update_by(h, lr_factor, theta + i, grads[theta + i], i < decayed);
    }
}
