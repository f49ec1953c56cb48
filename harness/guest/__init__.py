"""What boots in a virtual machine: kernels, agent, initramfs, file system images, unified image."""
