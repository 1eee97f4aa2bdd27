// Before the kernels that update parameters from their gradients. L2 and decoupled weight decay act on
// weights alone and exempt biases, gamma and beta.
//   g = gradient + l2 * theta,  theta = theta * (1 - lr * decay), then by rule:
//   sgd       theta -= lr * g
//   momentum  u = mu * u + g;  theta -= lr * u   (Nesterov: lr * (g + mu * u))
//   adam      u = b1 * u + (1 - b1) * g;  v = b2 * v + (1 - b2) * g^2;
//             theta -= lr / c1 * u / (sqrt(v / c2) + eps),  c = 1 - b^number

override RULE: u32;    // 0 sgd, 1 momentum, 2 Nesterov, 3 adam
override KEEP1: f32;   // mu or b1
override TAKE1: f32;   // 1 - b1
override KEEP2: f32;   // b2
override TAKE2: f32;   // 1 - b2
override EPSILON: f32; // added to the root of v

// Of model m's parameters at index i.
fn update(m: u32, i: u32, gradient: vec4f, decayed: bool) {
    update_by(hyper[model(m)], current.lr_factor, i, gradient, decayed);
}

// Of a model with lr, l2, decay and a dropout key. One with a learning rate of 0 is held as it is.
fn update_by(h: vec4f, lr_factor: f32, i: u32, gradient: vec4f, decayed: bool) {
    if h.x == 0.0 {
        return;
    }
    let lr = h.x * lr_factor;
    var theta = params[i];
    var g = gradient;
    if decayed {
        g += h.y * theta;
        theta *= 1.0 - lr * h.z;
    }
    switch RULE {
        case 0u { theta -= lr * g; }
        case 3u {
            let u = KEEP1 * moment1[i] + TAKE1 * g;
            let v = KEEP2 * moment2[i] + TAKE2 * g * g;
            moment1[i] = u;
            moment2[i] = v;
            let c = current.corrections;
            // Divided by an infinite moment the step would be 0 from here on, and the loss show nothing.
            theta = select(theta - lr / c.x * u / (sqrt(v / c.y) + EPSILON), v, not_finite(v));
        }
        default {
            let u = KEEP1 * moment1[i] + g;
            moment1[i] = u;
            theta -= lr * select(u, g + KEEP1 * u, RULE == 2u);
        }
    }
    params[i] = theta;
}
