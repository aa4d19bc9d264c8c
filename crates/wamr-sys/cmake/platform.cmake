# Stands in for WAMR's own platform file (SHARED_PLATFORM_CONFIG): the same, and this project's glue.

include (${SHARED_DIR}/platform/${WAMR_BUILD_PLATFORM}/shared_platform.cmake)

file (GLOB GLUE_SOURCE ${CMAKE_CURRENT_LIST_DIR}/../glue/*.c)
list (APPEND PLATFORM_SHARED_SOURCE ${GLUE_SOURCE})
include_directories (${CMAKE_CURRENT_LIST_DIR}/../glue)

# Standard output belongs to the guest: what WAMR itself prints goes nowhere. Defined for this one file,
# because in WAMR's WASI the same macro would swallow the guest's output too.
set_source_files_properties (${SHARED_DIR}/platform/${WAMR_BUILD_PLATFORM}/platform_init.c
    PROPERTIES COMPILE_DEFINITIONS BH_VPRINTF=glue_discard)

# See glue/beneath.c.
set_source_files_properties (${SHARED_DIR}/platform/common/posix/posix_file.c
    PROPERTIES COMPILE_DEFINITIONS
    "openat=glue_openat;linkat=glue_linkat;fstatat=glue_fstatat;utimensat=glue_utimensat")

# glue/descriptors.c is this file and more.
set_source_files_properties (
    ${WAMR_ROOT_DIR}/core/iwasm/libraries/libc-wasi/sandboxed-system-primitives/src/posix.c
    PROPERTIES HEADER_FILE_ONLY ON)

# See glue/code.c.
set_source_files_properties (${WAMR_ROOT_DIR}/core/iwasm/aot/aot_loader.c
    PROPERTIES COMPILE_DEFINITIONS
    "os_mmap=glue_code_mmap;os_munmap=glue_code_munmap;os_mprotect=glue_code_mprotect")

# See glue/window.c.
set_source_files_properties (${SHARED_DIR}/platform/common/posix/posix_memmap.c
    PROPERTIES COMPILE_DEFINITIONS "os_mmap=wamr_os_mmap;os_munmap=wamr_os_munmap")

# See glue/warm.c.
set_source_files_properties (${SHARED_DIR}/platform/common/posix/posix_thread.c
    PROPERTIES COMPILE_DEFINITIONS "os_thread_get_stack_boundary=wamr_os_thread_get_stack_boundary")
set_source_files_properties (${SHARED_DIR}/platform/common/libc-util/libc_errno.c
    PROPERTIES COMPILE_DEFINITIONS "convert_errno=wamr_convert_errno")
set_source_files_properties (${SHARED_DIR}/platform/common/posix/posix_socket.c
    PROPERTIES COMPILE_DEFINITIONS "setsockopt=warm_setsockopt;getsockname=warm_getsockname")
