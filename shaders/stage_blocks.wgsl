// Before the kernels of large minibatches, after stage.wgsl.

override NORM_X: u32;    // as NORM, of the layer before, whose output x is,
override NORM_OUT: u32;  // and of what an updated weight passed on
override DROPOUT_X: u32; // 1 where x is dropped
override VALUE: u32;     // 1 where the value of the function is stored
override CACHE: u32;     // vec4s of shared memory for what takes columns through batch normalization
