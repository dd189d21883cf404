import koffi, { type LibraryHandle } from "koffi";

/**
 * Functions of Vulkan that crash in the null device of RADV, Mesa's driver for AMD, which compiles shaders without a card but has
 * no command buffers. Dawn calls the first when it opens a device, and the others when it closes one.
 */
const CRASHING = ["vkBeginCommandBuffer", "vkQueueWaitIdle", "vkFreeCommandBuffers"];

/** Machine code of a function that returns 0, which is VK_SUCCESS: xor eax, eax; ret. */
const RETURN_SUCCESS = [0x31, 0xc0, 0xc3];

const PAGE = 4096n;
const READ_WRITE_EXECUTE = 7;

/**
 * Makes RADV's null device usable by Dawn in this process, where VK_DRIVER_FILES and RADV_FORCE_FAMILY are set: overwrites the
 * functions that crash by ones that do nothing. Pipelines compile afterwards; nothing may be submitted. For Linux on x64.
 */
export function mendNullRadv(): void {
  const vulkan = koffi.load("libvulkan.so.1");
  const device = createVulkanDevice(vulkan);
  const functionOf = vulkan.func("void *vkGetDeviceProcAddr(void *, const char *)");
  const protect = koffi.load(null).func("int mprotect(void *, size_t, int)") as (...given: unknown[]) => number;
  for (const name of CRASHING) {
    const code: unknown = functionOf(device, name);
    const address = koffi.address(code);
    const page = address - (address % PAGE);
    const bytes = address - page + BigInt(RETURN_SUCCESS.length);
    if (protect(page, bytes, READ_WRITE_EXECUTE) !== 0) throw new Error(`${name}: its code cannot be made writable`);
    new Uint8Array(koffi.view(code, RETURN_SUCCESS.length)).set(RETURN_SUCCESS);
  }
}

/** Creates a device of the only adapter. It is never destroyed: the driver has to stay where it is. */
function createVulkanDevice(vulkan: LibraryHandle): unknown {
  const call = (name: string, parameters: string, ...given: unknown[]) => {
    const result = (vulkan.func(`int ${name}(${parameters})`) as (...all: unknown[]) => number)(...given);
    if (result !== 0) throw new Error(`${name}: VkResult ${result}`);
  };
  const [instance, adapter, device] = [[null], [null], [null]];
  const instanceInfo = Buffer.alloc(64); // VkInstanceCreateInfo; all but the first field is zero
  instanceInfo.writeInt32LE(1, 0); // sType
  call("vkCreateInstance", "const void *, void *, _Out_ void **", instanceInfo, null, instance);
  call("vkEnumeratePhysicalDevices", "void *, _Inout_ uint32_t *, _Out_ void **", instance[0], [1], adapter);

  const priority = Buffer.alloc(4);
  const queueInfo = Buffer.alloc(40); // VkDeviceQueueCreateInfo, of the first family
  queueInfo.writeInt32LE(2, 0); // sType
  queueInfo.writeUInt32LE(1, 24); // queueCount
  queueInfo.writeBigUInt64LE(koffi.address(priority), 32); // pQueuePriorities
  const deviceInfo = Buffer.alloc(72); // VkDeviceCreateInfo
  deviceInfo.writeInt32LE(3, 0); // sType
  deviceInfo.writeUInt32LE(1, 20); // queueCreateInfoCount
  deviceInfo.writeBigUInt64LE(koffi.address(queueInfo), 24); // pQueueCreateInfos
  call("vkCreateDevice", "void *, const void *, void *, _Out_ void **", adapter[0], deviceInfo, null, device);
  return device[0];
}
