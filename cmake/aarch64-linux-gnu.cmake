# Toolchain: g++ for AArch64 Linux on another machine, whose programs QEMU's user mode runs.
# Debian: g++-aarch64-linux-gnu, qemu-user.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)

find_program(RUEDA_QEMU_AARCH64 NAMES qemu-aarch64 qemu-aarch64-static REQUIRED)
set(CMAKE_CROSSCOMPILING_EMULATOR ${RUEDA_QEMU_AARCH64} -L /usr/aarch64-linux-gnu)
