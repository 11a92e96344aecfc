//go:build !purego

#include "textflag.h"

// func pairBlocks(p *byte, blocks int, off int, a, b byte) int
TEXT ·pairBlocks(SB), NOSPLIT, $0-40
	MOVQ p+0(FP), SI
	MOVQ blocks+8(FP), CX
	MOVQ off+16(FP), DX
	MOVBLZX a+24(FP), AX
	MOVBLZX b+25(FP), BX
	ADDQ SI, DX
	XORQ DI, DI

	// X0 is 16 times a, X1 is 16 times b.
	MOVD AX, X0
	PUNPCKLBW X0, X0
	PUNPCKLBW X0, X0
	PSHUFL $0, X0, X0
	MOVD BX, X1
	PUNPCKLBW X1, X1
	PUNPCKLBW X1, X1
	PSHUFL $0, X1, X1

loop:
	TESTQ CX, CX
	JZ none
	MOVOU (SI)(DI*1), X2
	MOVOU 16(SI)(DI*1), X3
	MOVOU (DX)(DI*1), X4
	MOVOU 16(DX)(DI*1), X5
	PCMPEQB X0, X2
	PCMPEQB X0, X3
	PCMPEQB X1, X4
	PCMPEQB X1, X5
	PAND X4, X2
	PAND X5, X3
	MOVO X2, X6
	POR X3, X6
	PMOVMSKB X6, R8
	TESTL R8, R8
	JNZ hit
	ADDQ $32, DI
	DECQ CX
	JMP loop

hit:
	PMOVMSKB X2, R8
	PMOVMSKB X3, R9
	SHLL $16, R9
	ORL R9, R8
	BSFL R8, R8
	ADDQ R8, DI
	MOVQ DI, ret+32(FP)
	RET

none:
	MOVQ $-1, ret+32(FP)
	RET
