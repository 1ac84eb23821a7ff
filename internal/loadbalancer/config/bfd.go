package config

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"minato/internal/loadbalancer/config/metallb"
)

// What a BFDProfile has if its fields are not set.
const (
	defaultBFDInterval   = 300
	defaultBFDMultiplier = 3
)

// CheckBFDProfile returns what keeps a BFDProfile from being used.
func CheckBFDProfile(object metallb.BFDProfile) field.ErrorList {
	_, errs := readBFD(object)
	return errs
}

func readBFD(object metallb.BFDProfile) (BFDProfile, field.ErrorList) {
	path := field.NewPath("spec")
	errs := checkMeta(&object)
	number := func(name string, value *int64, unset, low, high int64) int64 {
		if value == nil {
			return unset
		}
		if *value < low || *value > high {
			errs = append(errs, field.Invalid(path.Child(name), *value, fmt.Sprintf("%d is not from %d to %d", *value, low, high)))
		}
		return *value
	}
	spec := object.Spec
	receive := number("receiveInterval", spec.ReceiveInterval, defaultBFDInterval, 10, 60000)
	transmit := number("transmitInterval", spec.TransmitInterval, defaultBFDInterval, 10, 60000)
	multiplier := number("detectMultiplier", spec.DetectMultiplier, defaultBFDMultiplier, 2, 255)
	number("echoInterval", spec.EchoInterval, 0, 10, 60000)
	ttl := number("minimumTtl", spec.MinimumTTL, 0, 1, 254)
	return BFDProfile{
		Name:             object.Name,
		Object:           objectOf(metallb.KindBFDProfile, &object),
		ReceiveInterval:  time.Duration(receive) * time.Millisecond,
		TransmitInterval: time.Duration(transmit) * time.Millisecond,
		DetectMultiplier: uint8(multiplier),
		Passive:          spec.PassiveMode,
		MinimumTTL:       uint8(ttl),
	}, errs
}

// unhonouredBFD returns the fields of a BFDProfile that are set and not followed.
func unhonouredBFD(spec metallb.BFDProfileSpec) field.ErrorList {
	path := field.NewPath("spec")
	var errs field.ErrorList
	add := func(is bool, name, detail string) {
		if is {
			errs = append(errs, field.Forbidden(path.Child(name), detail))
		}
	}
	add(spec.EchoMode, "echoMode", "echo packets are not supported: the path is probed without them; remove the field")
	add(spec.EchoInterval != nil, "echoInterval", "echo packets are not supported: the interval has no effect; remove the field")
	return errs
}
