//go:build !purego

#include "textflag.h"

// func quote(data []byte, i int) int
TEXT ·quote(SB), NOSPLIT, $0-40
	MOVQ data+0(FP), SI
	MOVQ data_len+8(FP), DX
	MOVQ i+24(FP), AX
	MOVQ $0x2222222222222222, BX
	MOVQ BX, X1
	PUNPCKLQDQ X1, X1
	MOVQ $0x5c5c5c5c5c5c5c5c, BX
	MOVQ BX, X2
	PUNPCKLQDQ X2, X2
	MOVQ DX, CX
	SUBQ $16, CX // from here on, less than 16 bytes follow

loop:
	CMPQ AX, CX
	JGT rest
	MOVOU (SI)(AX*1), X0
	MOVO X0, X3
	PCMPEQB X1, X0
	PCMPEQB X2, X3
	POR X3, X0
	PMOVMSKB X0, R8
	ADDQ $16, AX
	TESTL R8, R8
	JZ loop
	BSFL R8, R8
	LEAQ -16(AX)(R8*1), AX
	MOVQ AX, ret+32(FP)
	RET

rest:
	CMPQ AX, DX
	JGE none
	MOVB (SI)(AX*1), R8
	CMPB R8, $0x22
	JEQ found
	CMPB R8, $0x5c
	JEQ found
	INCQ AX
	JMP rest

none:
	MOVQ DX, AX

found:
	MOVQ AX, ret+32(FP)
	RET
