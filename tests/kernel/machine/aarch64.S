        mov     x8, #435
        svc     #0
        cbz     x0, 1f
        ret
1:      mov     x19, x2
2:      ldr     x8, [x19]
        ldp     x0, x1, [x19, #8]
        ldp     x2, x3, [x19, #24]
        ldp     x4, x5, [x19, #40]
        svc     #0
        str     x0, [x19, #80]
        tbz     x0, #63, 3f
        ldp     x1, x2, [x19, #56]
        cmp     x0, x1
        b.eq    3f
        cmp     x0, x2
        b.eq    3f
        ldr     x1, [x19, #72]
        cmp     x0, x1
        b.eq    3f
        mov     x0, #125
        mov     x8, #94
        svc     #0
3:      add     x19, x19, #88
        b       2b
