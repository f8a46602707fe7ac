// Runs programs: C functions that are called one after another, for one block of memory after the other (see
// programs.py).

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <utility>

using Word = std::int64_t;  // a pointer or an integer: C functions take either in the same way

constexpr std::size_t MAX_ARGUMENTS = 128;

using Caller = void (*)(Word, const Word*);

template <std::size_t... I>
static void call(Word function, const Word* arguments, std::index_sequence<I...>) {
  reinterpret_cast<void (*)(decltype(static_cast<void>(I), Word{})...)>(function)(arguments[I]...);
}

template <std::size_t COUNT>
static void call_with(Word function, const Word* arguments) {
  call(function, arguments, std::make_index_sequence<COUNT>{});
}

template <std::size_t... COUNT>
static constexpr std::array<Caller, sizeof...(COUNT)> make_callers(std::index_sequence<COUNT...>) {
  return {call_with<COUNT>...};
}

static constexpr auto CALLERS = make_callers(std::make_index_sequence<MAX_ARGUMENTS + 1>{});

// Make the calls for each block: a function, the number of its arguments, and of each the slot and the offset from its
// address, which increases by the slot's stride with each block; without a slot, -1, the argument itself. If a function
// throws, ``error`` is set to why, in up to ``size`` characters.
extern "C" void run_program(const Word* code, Word calls, const Word* addresses, const Word* strides, Word blocks,
                            char* error, Word size) {
  try {
    for (Word block = 0; block < blocks; block++) {
      const Word* next = code;
      for (Word i = 0; i < calls; i++) {
        const Word function = *next++, count = *next++;
        Word arguments[MAX_ARGUMENTS];
        for (Word j = 0; j < count; j++) {
          const Word slot = *next++, offset = *next++;
          arguments[j] = slot < 0 ? offset : addresses[slot] + block * strides[slot] + offset;
        }
        CALLERS[count](function, arguments);
      }
    }
  } catch (const std::exception& exception) {
    std::snprintf(error, size, "%s", exception.what());
  }
}
