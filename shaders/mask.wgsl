// Before the kernels that drop values: x / (1 - p) where the mask keeps or x is not finite, else 0. The mask is a pure
// function of the model's key, the update, the layer, row and column, so the backward pass makes it again.

// PCG-RXS-M-XS (Jarzynski and Olano 2020, "Hash Functions for GPU Rendering").
fn pcg(seed: u32) -> u32 {
    let state = seed * 747796405u + 2891336453u;
    let word = ((state >> ((state >> 28u) + 4u)) ^ state) * 277803737u;
    return (word >> 22u) ^ word;
}

// What a minibatch's draws begin with in a layer.
fn stream_of(key: f32, layer: u32) -> u32 {
    return pcg(pcg(pcg(u32(key)) ^ layer) ^ current.number);
}

// A draw below the threshold is dropped.
fn dropped(x: vec4f, stream: u32, r: u32, c: u32, threshold: u32, scale: f32) -> vec4f {
    let row = pcg(stream ^ r);
    let draw = vec4u(pcg(row ^ (4u * c)), pcg(row ^ (4u * c + 1u)), pcg(row ^ (4u * c + 2u)), pcg(row ^ (4u * c + 3u)));
    return select(vec4f(), x * scale, (draw >= vec4u(threshold)) | not_finite(x));
}
