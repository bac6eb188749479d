        mov     $435, %eax
        syscall
        test    %rax, %rax
        jz      1f
        ret
1:      mov     %rdx, %rbx
2:      mov     (%rbx), %rax
        mov     8(%rbx), %rdi
        mov     16(%rbx), %rsi
        mov     24(%rbx), %rdx
        mov     32(%rbx), %r10
        mov     40(%rbx), %r8
        mov     48(%rbx), %r9
        syscall
        mov     %rax, 80(%rbx)
        test    %rax, %rax
        jns     3f
        cmp     %rax, 56(%rbx)
        je      3f
        cmp     %rax, 64(%rbx)
        je      3f
        cmp     %rax, 72(%rbx)
        je      3f
        mov     $125, %edi
        mov     $231, %eax
        syscall
3:      add     $88, %rbx
        jmp     2b
