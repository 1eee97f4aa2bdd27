// One update of every parameter of every model. Weights come first in the buffer; L2 and decoupled
// weight decay act on them alone and exempt what follows (biases, gamma, beta).
//   g = gradient + l2 * theta,  theta = theta * (1 - lr * decay), then by rule:
//   sgd       theta -= lr * g
//   momentum  u = mu * u + g;  theta -= lr * u   (Nesterov: lr * (g + mu * u))
//   adam      u = b1 * u + (1 - b1) * g;  v = b2 * v + (1 - b2) * g^2;
//             theta -= lr / c1 * u / (sqrt(v / c2) + eps),  c = 1 - b^number

override LANES: u32;

// keep1 is mu or b1, take1 is 1 - b1.
struct Params { theta: View, hyper: View, decayed: u32, nesterov: u32, keep1: f32, take1: f32, keep2: f32, take2: f32, eps: f32 }

@group(1) @binding(0) var<uniform> p: Params;
@group(1) @binding(1) var<storage, read> hyper: array<vec4f>; // lr, l2, decay, dropout key
@group(1) @binding(2) var<storage, read> grads: array<vec4f>;
@group(1) @binding(3) var<storage, read_write> params: array<vec4f>;
@group(1) @binding(4) var<storage, read_write> moment1: array<vec4f>;
@group(1) @binding(5) var<storage, read_write> moment2: array<vec4f>;

struct Now { lr: f32, g: vec4f, theta: vec4f }

fn now(m: u32, i: u32) -> Now {
    let h = hyper[at(p.hyper, m, 0u, 0u)];
    let lr = h.x * current.lr_factor;
    let at_i = at(p.theta, m, 0u, i);
    let theta = params[at_i];
    if i < p.decayed {
        return Now(lr, grads[at_i] + h.y * theta, theta * (1.0 - lr * h.z));
    }
    return Now(lr, grads[at_i], theta);
}

@compute @workgroup_size(LANES)
fn sgd(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = id.x; i < p.theta.ld; i += groups.x * LANES) {
        let n = now(id.z, i);
        params[at(p.theta, id.z, 0u, i)] = n.theta - n.lr * n.g;
    }
}

@compute @workgroup_size(LANES)
fn momentum(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = id.x; i < p.theta.ld; i += groups.x * LANES) {
        let n = now(id.z, i);
        let at_i = at(p.theta, id.z, 0u, i);
        let u = p.keep1 * moment1[at_i] + n.g;
        moment1[at_i] = u;
        params[at_i] = n.theta - n.lr * select(u, n.g + p.keep1 * u, p.nesterov == 1u);
    }
}

@compute @workgroup_size(LANES)
fn adam(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = id.x; i < p.theta.ld; i += groups.x * LANES) {
        let n = now(id.z, i);
        let at_i = at(p.theta, id.z, 0u, i);
        let u = p.keep1 * moment1[at_i] + p.take1 * n.g;
        let v = p.keep2 * moment2[at_i] + p.take2 * n.g * n.g;
        moment1[at_i] = u;
        moment2[at_i] = v;
        let c = current.corrections;
        params[at_i] = n.theta - n.lr / c.x * u / (sqrt(v / c.y) + p.eps);
    }
}
