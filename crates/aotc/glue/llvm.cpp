// What LLVM's C interface does not have.

#include <string>
#include <vector>

#include <llvm/IR/Function.h>
#include <llvm/IR/InstIterator.h>
#include <llvm/IR/Instructions.h>
#include <llvm/IR/Module.h>
#include <llvm/Support/CommandLine.h>

#include "glue.h"

void
aotc_drop_body(LLVMValueRef function)
{
    llvm::unwrap<llvm::Function>(function)->deleteBody();
}

bool
aotc_has_tail_calls(LLVMModuleRef module)
{
    for (const llvm::Function &function : *llvm::unwrap(module)) {
        for (const llvm::Instruction &instruction : llvm::instructions(function)) {
            auto *call = llvm::dyn_cast<llvm::CallInst>(&instruction);
            if (call && call->isTailCall())
                return true;
        }
    }
    return false;
}

void
aotc_set_flags(const char *flags)
{
    std::vector<std::string> words = { "wamr-aotc" };
    std::vector<const char *> pointers;

    for (const char *at = flags; *at; at++) {
        if (*at == ' ')
            continue;
        if (at == flags || at[-1] == ' ')
            words.emplace_back();
        words.back() += *at;
    }
    for (const std::string &word : words)
        pointers.push_back(word.c_str());
    llvm::cl::ResetAllOptionOccurrences();
    llvm::cl::ParseCommandLineOptions((int)pointers.size(), pointers.data());
}
