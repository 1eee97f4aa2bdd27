mod parity;

use minilote::Device;
fn devices() -> Vec<(String, Device)> {
    let gpu = pollster::block_on(Device::choose("gpu")).unwrap().0;
    vec![("CPU backend".into(), Device::Cpu), ("GPU".into(), gpu)]
}
