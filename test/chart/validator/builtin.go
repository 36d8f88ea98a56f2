package main

import (
	"fmt"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	podutil "k8s.io/kubernetes/pkg/api/pod"
	"k8s.io/kubernetes/pkg/apis/apps"
	_ "k8s.io/kubernetes/pkg/apis/apps/install"
	appsvalidation "k8s.io/kubernetes/pkg/apis/apps/validation"
	"k8s.io/kubernetes/pkg/apis/autoscaling"
	_ "k8s.io/kubernetes/pkg/apis/autoscaling/install"
	autoscalingvalidation "k8s.io/kubernetes/pkg/apis/autoscaling/validation"
	"k8s.io/kubernetes/pkg/apis/core"
	_ "k8s.io/kubernetes/pkg/apis/core/install"
	corev1 "k8s.io/kubernetes/pkg/apis/core/v1"
	corevalidation "k8s.io/kubernetes/pkg/apis/core/validation"
	"k8s.io/kubernetes/pkg/apis/networking"
	_ "k8s.io/kubernetes/pkg/apis/networking/install"
	networkingvalidation "k8s.io/kubernetes/pkg/apis/networking/validation"
	"k8s.io/kubernetes/pkg/apis/policy"
	_ "k8s.io/kubernetes/pkg/apis/policy/install"
	policyvalidation "k8s.io/kubernetes/pkg/apis/policy/validation"
	"k8s.io/pod-security-admission/api"
	admission "k8s.io/pod-security-admission/policy"
)

var codecs = serializer.NewCodecFactory(legacyscheme.Scheme, serializer.EnableStrict)

// validateBuiltin tells what the API server would refuse of an object of a built-in kind.
func validateBuiltin(json []byte) []string {
	object, _, err := codecs.UniversalDecoder().Decode(json, nil, nil)
	if err != nil {
		return []string{err.Error()}
	}
	prepare(object)
	problems := []string{}
	for _, problem := range fieldErrors(object) {
		problems = append(problems, problem.Error())
	}
	if template := podOf(object); template != nil {
		problems = append(problems, securityProblems(template)...)
	}
	return problems
}

// prepare fills in what the API server does before it validates.
func prepare(object runtime.Object) {
	if metadata, err := meta.Accessor(object); err == nil && metadata.GetNamespace() == "" {
		metadata.SetNamespace("default")
	}
	if service, isService := object.(*core.Service); isService && service.Spec.ClusterIP != "" {
		service.Spec.ClusterIPs = []string{service.Spec.ClusterIP}
	}
}

func fieldErrors(object runtime.Object) field.ErrorList {
	switch object := object.(type) {
	case *apps.Deployment:
		return appsvalidation.ValidateDeployment(object, podutil.GetValidationOptionsFromPodTemplate(&object.Spec.Template, nil))
	case *core.Pod:
		return corevalidation.ValidatePodCreate(object, podutil.GetValidationOptionsFromPodSpecAndMeta(&object.Spec, nil, &object.ObjectMeta, nil))
	case *core.Service:
		return corevalidation.ValidateServiceCreate(object)
	case *core.ServiceAccount:
		return corevalidation.ValidateServiceAccount(object)
	case *core.ConfigMap:
		return corevalidation.ValidateConfigMap(object)
	case *core.Secret:
		return corevalidation.ValidateSecret(object)
	case *policy.PodDisruptionBudget:
		return policyvalidation.ValidatePodDisruptionBudget(object, policyvalidation.PodDisruptionBudgetValidationOptions{})
	case *autoscaling.HorizontalPodAutoscaler:
		return autoscalingvalidation.ValidateHorizontalPodAutoscaler(object, autoscalingvalidation.HorizontalPodAutoscalerSpecValidationOptions{MinReplicasLowerBound: 1})
	case *networking.NetworkPolicy:
		return networkingvalidation.ValidateNetworkPolicy(object, networkingvalidation.NetworkPolicyValidationOptions{})
	case *networking.Ingress:
		return networkingvalidation.ValidateIngressCreate(object)
	}
	return field.ErrorList{field.NotSupported(field.NewPath("kind"), fmt.Sprintf("%T", object), []string{})}
}

func podOf(object runtime.Object) *core.PodTemplateSpec {
	switch object := object.(type) {
	case *apps.Deployment:
		return &object.Spec.Template
	case *core.Pod:
		return &core.PodTemplateSpec{ObjectMeta: object.ObjectMeta, Spec: object.Spec}
	}
	return nil
}

// securityProblems tells what the Pod Security Standard "restricted" has against a pod.
func securityProblems(template *core.PodTemplateSpec) []string {
	var pod v1.PodTemplateSpec
	if err := corev1.Convert_core_PodTemplateSpec_To_v1_PodTemplateSpec(template, &pod, nil); err != nil {
		return []string{err.Error()}
	}
	evaluator, err := admission.NewEvaluator(admission.DefaultChecks(), nil)
	if err != nil {
		return []string{err.Error()}
	}
	level := api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}
	result := admission.AggregateCheckResults(evaluator.EvaluatePod(level, &pod.ObjectMeta, &pod.Spec))
	if result.Allowed {
		return nil
	}
	return []string{"Pod Security restricted: " + result.ForbiddenDetail()}
}
