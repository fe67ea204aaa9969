#pragma once

// Every public name carries NIBBLE_API; all others are hidden in the shared library.
#if defined(_WIN32)
#define NIBBLE_API
#else
#define NIBBLE_API __attribute__((visibility("default")))
#endif
