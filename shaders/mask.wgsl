// Before the kernels that drop values: x / (1 - p) where the mask keeps or x is not finite, else 0. The mask is a pure
// function of the model's key, the update, the layer, row and column, so the backward pass makes it again.

// PCG-RXS-M-XS (Jarzynski and Olano 2020, "Hash Functions for GPU Rendering").
fn pcg(seed: u32) -> u32 {
    let state = seed * 747796405u + 2891336453u;
    let word = ((state >> ((state >> 28u) + 4u)) ^ state) * 277803737u;
    return (word >> 22u) ^ word;
}

// What a minibatch's draws begin with in a layer, what a draw below is dropped, and what others are multiplied by.
struct Mask { stream: u32, threshold: u32, scale: f32 }

// Kernels for software adapters make it before they loop: compilers don't move what it reads out of a loop that stores.
fn mask_of(key: f32, layer: u32, threshold: u32, scale: f32) -> Mask {
    return Mask(pcg(pcg(pcg(u32(key)) ^ layer) ^ current.number), threshold, scale);
}

fn dropped(x: vec4f, mask: Mask, r: u32, c: u32) -> vec4f {
    let row = pcg(mask.stream ^ r);
    let draw = vec4u(pcg(row ^ (4u * c)), pcg(row ^ (4u * c + 1u)), pcg(row ^ (4u * c + 2u)), pcg(row ^ (4u * c + 3u)));
    return select(vec4f(), x * mask.scale, (draw >= vec4u(mask.threshold)) | not_finite(x));
}
