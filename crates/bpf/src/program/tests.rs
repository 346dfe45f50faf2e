use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;

fn run(program: &[Instruction], packet: &[u8]) -> u32 {
    Program::new(program).unwrap().run(packet)
}

const RETURN_A: Instruction = Instruction::new(RET | A, 0);

#[test]
fn every_load() {
    let packet = [0x45, 1, 2, 3, 4, 5, 6, 7];
    for (code, k, x, value) in [
        (LD | W | ABS, 1, 0, 0x0102_0304),
        (LD | H | ABS, 6, 0, 0x0607),
        (LD | B | ABS, 7, 0, 7),
        (LD | W | IND, 1, 3, 0x0405_0607),
        (LD | H | IND, 1, 3, 0x0405),
        (LD | B | IND, 1, 3, 4),
        (LD | B | IND, 3, u32::MAX, 2),
        (LD | W | IMM, 9, 0, 9),
        (LD | W | LEN, 0, 0, 8),
    ] {
        let program = [Instruction::new(LDX | W | IMM, x), Instruction::new(code, k), RETURN_A];
        assert_eq!(run(&program, &packet), value, "{code:#x}");
    }
    for (code, k, value) in [
        (LDX | W | IMM, 7, 7),
        (LDX | W | LEN, 0, 8),
        (LDX | B | MSH, 0, 20),
        (LDX | W | MEM, 3, 0),
    ] {
        let program = [Instruction::new(code, k), Instruction::new(MISC | TXA, 0), RETURN_A];
        assert_eq!(run(&program, &packet), value, "{code:#x}");
    }
}

#[test]
fn a_load_behind_the_end_refuses() {
    let yes = Instruction::new(RET | K, 1);
    for (code, k, x) in [
        (LD | W | ABS, 1, 0),
        (LD | H | ABS, 3, 0),
        (LD | B | ABS, 4, 0),
        (LD | B | ABS, u32::MAX, 0),
        (LD | W | IND, 0, 1),
        (LD | B | IND, 0, u32::MAX),
        (LD | B | IND, 1, u32::MAX - 1),
        (LDX | B | MSH, 4, 0),
    ] {
        let program = [Instruction::new(LDX | W | IMM, x), Instruction::new(code, k), yes];
        assert_eq!(run(&program, &[0; 4]), 0, "{code:#x} {k} {x}");
    }
}

#[test]
fn every_calculation_with_both_sources() {
    for (operation, a, b, value) in [
        (ADD, u32::MAX, 2, 1),
        (SUB, 1, 2, u32::MAX),
        (MUL, 0x8000_0001, 2, 2),
        (DIV, 7, 2, 3),
        (MOD, 7, 4, 3),
        (OR, 6, 3, 7),
        (AND, 6, 3, 2),
        (XOR, 6, 3, 5),
        (LSH, 1, 31, 0x8000_0000),
        (RSH, 0x8000_0000, 31, 1),
    ] {
        let by_k =
            [Instruction::new(LD | IMM, a), Instruction::new(ALU | operation | K, b), RETURN_A];
        let by_x = [
            Instruction::new(LD | IMM, a),
            Instruction::new(LDX | IMM, b),
            Instruction::new(ALU | operation | X, 0),
            RETURN_A,
        ];
        assert_eq!(run(&by_k, &[]), value, "{operation:#x} by k");
        assert_eq!(run(&by_x, &[]), value, "{operation:#x} by x");
    }
    let negated = [Instruction::new(LD | IMM, 1), Instruction::new(ALU | NEG, 0), RETURN_A];
    assert_eq!(run(&negated, &[]), u32::MAX);
    for operation in [DIV, MOD] {
        let by_zero = [Instruction::new(ALU | operation | X, 0), Instruction::new(RET | K, 1)];
        assert_eq!(run(&by_zero, &[]), 0, "division by the register's zero");
    }
}

#[test]
fn every_jump_with_both_sources() {
    for (operation, b, taken) in [
        (JEQ, 5, true),
        (JEQ, 4, false),
        (JGT, 4, true),
        (JGT, 5, false),
        (JGE, 5, true),
        (JGE, 6, false),
        (JSET, 4, true),
        (JSET, 2, false),
    ] {
        for source in [K, X] {
            let program = [
                Instruction::new(LD | IMM, 5),
                Instruction::new(LDX | IMM, b),
                Instruction::jump(JMP | operation | source, b, 1, 0),
                Instruction::new(RET | K, 100),
                Instruction::new(RET | K, 200),
            ];
            assert_eq!(run(&program, &[]), if taken { 200 } else { 100 }, "{operation:#x} {b}");
        }
    }
    let always =
        [Instruction::new(JMP | JA, 1), Instruction::new(RET | K, 1), Instruction::new(RET | K, 2)];
    assert_eq!(run(&always, &[]), 2);
}

#[test]
fn memory_keeps_what_is_stored() {
    let program = [
        Instruction::new(LD | IMM, 3),
        Instruction::new(ST, 15),
        Instruction::new(LDX | IMM, 4),
        Instruction::new(STX, 0),
        Instruction::new(LD | MEM, 0),
        Instruction::new(LDX | MEM, 15),
        Instruction::new(ALU | LSH | X, 0),
        Instruction::new(MISC | TAX, 0),
        Instruction::new(ALU | ADD | X, 0),
        RETURN_A,
    ];
    assert_eq!(run(&program, &[]), 64);
}

#[test]
fn what_is_no_program_is_refused_with_its_place() {
    let ret = Instruction::new(RET | K, 0);
    let check = |program: &[Instruction]| Program::new(program).map(|_| ());
    assert_eq!(check(&[]), Err(Invalid::Empty));
    assert_eq!(check(&alloc::vec![ret; PROGRAM_MAX + 1]), Err(Invalid::TooLong(PROGRAM_MAX + 1)));
    assert_eq!(check(&alloc::vec![ret; PROGRAM_MAX]), Ok(()));
    assert_eq!(check(&[Instruction::new(LD | IMM, 0)]), Err(Invalid::NoReturn));
    for code in [
        LD | H | IMM,
        LD | B | LEN,
        LDX | H | IMM,
        LDX | W | ABS,
        ST | W | 0x20,
        ALU | 0xb0,
        ALU | 0xf0,
        JMP | 0x50,
        RET | X,
        MISC | 0x20,
        0x100 | LD,
        MISC | KEY,
        RET | MATCH_IMM,
    ] {
        let program = [Instruction::new(code, 1), ret, ret];
        assert_eq!(check(&program), Err(Invalid::UnknownCode { at: 0, code }), "{code:#x}");
    }
    for code in [ST, STX, LD | MEM, LDX | MEM] {
        let program = [ret, Instruction::new(code, 16), ret];
        assert_eq!(check(&program), Err(Invalid::NoSuchWord { at: 1, word: 16 }));
    }
    for code in [DIV, MOD] {
        let program = [Instruction::new(ALU | code | K, 0), ret];
        assert_eq!(check(&program), Err(Invalid::DivisionByZero(0)));
    }
    for code in [LSH, RSH] {
        let program = [Instruction::new(ALU | code | K, 32), ret];
        assert_eq!(check(&program), Err(Invalid::ShiftTooFar(0)));
    }
    for jump in [
        Instruction::new(JMP | JA, 1),
        Instruction::new(JMP | JA, u32::MAX),
        Instruction::jump(JMP | JEQ, 0, 1, 0),
        Instruction::jump(JMP | JEQ | X, 0, 0, 1),
    ] {
        assert_eq!(check(&[jump, ret]), Err(Invalid::JumpTooFar(0)));
    }
}

#[test]
fn a_decoded_instruction_takes_sixteen_bytes() {
    assert_eq!(size_of::<Op>(), 16);
}

/// The machine as bpf(4) describes it, from the instructions themselves.
fn naive(program: &[Instruction], packet: &[u8]) -> Option<u32> {
    let (mut a, mut x, mut memory) = (0u32, 0u32, [0u32; 16]);
    let load = |at: u64, size: u64| {
        let bytes = packet.get(usize::try_from(at).ok()?..usize::try_from(at + size).ok()?)?;
        Some(bytes.iter().fold(0u32, |value, byte| value << 8 | u32::from(*byte)))
    };
    let mut pc = 0usize;
    loop {
        let Instruction { code, jt, jf, k } = program[pc];
        pc += 1;
        let size = match code & 0x18 {
            W => 4,
            H => 2,
            _ => 1,
        };
        let operand = if code & X != 0 { x } else { k };
        match code & CLASS {
            LD => {
                a = match code & 0xe0 {
                    IMM => k,
                    ABS => load(k.into(), size)?,
                    IND => load(k.wrapping_add(x).into(), size)?,
                    MEM => memory[k as usize],
                    _ => packet.len() as u32,
                }
            }
            LDX => {
                x = match code & 0xe0 {
                    IMM => k,
                    MEM => memory[k as usize],
                    LEN => packet.len() as u32,
                    _ => 4 * (load(k.into(), 1)? & 0xf),
                }
            }
            ST => memory[k as usize] = a,
            STX => memory[k as usize] = x,
            ALU => {
                a = match code & 0xf0 {
                    ADD => a.wrapping_add(operand),
                    SUB => a.wrapping_sub(operand),
                    MUL => a.wrapping_mul(operand),
                    DIV | MOD if operand == 0 => return None,
                    DIV => a / operand,
                    MOD => a % operand,
                    OR => a | operand,
                    AND => a & operand,
                    XOR => a ^ operand,
                    LSH => a << (operand % 32),
                    RSH => a >> (operand % 32),
                    _ => 0u32.wrapping_sub(a),
                }
            }
            JMP => {
                pc += match code & 0xf0 {
                    JA => k as usize,
                    JEQ if a == operand => jt.into(),
                    JGT if a > operand => jt.into(),
                    JGE if a >= operand => jt.into(),
                    JSET if a & operand != 0 => jt.into(),
                    _ => jf.into(),
                }
            }
            RET => return Some(if code & 0x18 == A { a } else { k }),
            _ if code & 0xf8 == TAX => x = a,
            _ => a = x,
        }
    }
}

/// Instructions that are mostly valid, with operands that mostly matter.
pub(crate) fn instruction() -> impl Strategy<Value = Instruction> {
    let code = prop_oneof![
        prop::sample::select(
            &[
                LD | W | ABS,
                LD | H | ABS,
                LD | B | ABS,
                LD | W | IND,
                LD | H | IND,
                LD | B | IND,
                LD | IMM,
                LD | LEN,
                LD | MEM,
                LDX | IMM,
                LDX | LEN,
                LDX | MEM,
                LDX | B | MSH,
                ST,
                STX,
                MISC | TAX,
                MISC | TXA,
                ALU | NEG,
                JMP | JA,
                RET | K,
                RET | A,
            ][..]
        ),
        (0u16..11, 0u16..2).prop_map(|(how, source)| ALU | how << 4 | source << 3),
        (1u16..5, 0u16..2).prop_map(|(how, source)| JMP | how << 4 | source << 3),
    ];
    let k = prop_oneof![6 => 0u32..16, 2 => 0u32..80, 1 => any::<u32>()];
    (code, 0u8..4, 0u8..4, k).prop_map(|(code, jt, jf, k)| Instruction { code, jt, jf, k })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8192))]
    #[test]
    fn it_says_what_the_naive_machine_says(
        mut program in proptest::collection::vec(instruction(), 0..24),
        packet in proptest::collection::vec(any::<u8>(), 0..48),
    ) {
        program.push(RETURN_A);
        if let Ok(valid) = Program::new(&program) {
            prop_assert_eq!(valid.run(&packet[..]), naive(&program, &packet).unwrap_or(0));
            prop_assert_eq!(valid.instructions(), &program[..]);
        }
    }

    #[test]
    fn any_program_and_any_packet(
        program in proptest::collection::vec(any::<(u8, u8, u8, u32)>(), 0..48),
        packet in proptest::collection::vec(any::<u8>(), 0..48),
    ) {
        let program: Vec<Instruction> = program
            .into_iter()
            .map(|(code, jt, jf, k)| Instruction { code: code.into(), jt: jt % 8, jf: jf % 8, k })
            .collect();
        for dialect in [Dialect::Classic, Dialect::Mach] {
            if let Ok(valid) = Program::of(dialect, &program) {
                let _ = valid.run(&packet[..]);
            }
        }
    }
}
